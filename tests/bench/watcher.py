"""The watcher with a hundred fake hosts of twenty guests each: what one pass costs, and what it takes to run.

It runs in a process of its own with a database of its own, which may be PostgreSQL. One pass is what the watch
of every host does in its turn: the load of the host and its guests, networks that are to go, every guest
compared with its row, every volume looked at. What the fake hosts themselves cost is in it, and told apart.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.bench.figures import Figure
from tests.bench.memory import pss_mb
from tests.e2e.nacelle import ROOT, Servers, wait_until

HOSTS, GUESTS = 100, 20
PASSES = 3
GOAL_SECONDS = 5.0
RUN_SECONDS = 30.0
# Seconds of CPU, counts and megabytes by what was measured.
Results = dict[str, float]


def measure() -> tuple[list[Figure], Results]:
    """The figures, on the database that DATABASE_URL names, else on SQLite."""
    servers = Servers(f"nacelle_watcher_{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="nacelle-bench-") as folder:
        environment = {
            **os.environ, "DATABASE_URL": f"sqlite:///{folder}/watcher.sqlite3", "NACELLE_LOG_LEVEL": "ERROR",
            "NACELLE_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "portal.settings", **servers.environment,
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.bench.watcher", folder]
        try:
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        finally:
            servers.remove()
    results: Results = json.loads(done.stdout.splitlines()[-1])
    return figures(results), results


def figures(results: Results) -> list[Figure]:
    """The lines of the table."""
    name = f"watcher, one pass over {HOSTS} fake hosts of {GUESTS} guests"
    return [
        Figure(f"{name}, CPU", results["pass"], "s", GOAL_SECONDS),
        Figure("    of it: the fake hosts themselves", results["fake"], "s"),
        Figure("    an hour of one host made averages by the minute", results["hour"] * 1000, "ms"),
        Figure("    the load of an instance, read for a chart of 24 h", results["chart"] * 1000, "ms"),
        Figure(f"    watcher that runs with {HOSTS} hosts, of one core", results["share"] * 100, "%"),
        Figure("    its memory (PSS)", results["memory"], "MB"),
        Figure("    its connections to the database, at most", results["connections"], ""),
        Figure("    rows of the change feed in a minute", results["changes"], "", 10.0),
    ]


def main(folder: Path) -> None:
    """In the process of its own."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    furnish(folder)
    results = {**passes(), **rolling(), **running()}
    close()
    print(json.dumps(results))


def close() -> None:
    """Let go of the database."""
    from portal.setup.forks import close_connections

    close_connections()


# the cloud ------------------------------------------------------------------------------------------------
def furnish(folder: Path) -> None:
    """The hosts, their instances, and the guests and volumes that belong to them."""
    from compute.flavor_defaults import ensure_flavors
    from compute.models import Flavor, Host
    from portal.identity.models import Domain, Project

    ensure_flavors()
    domain, _ = Domain.objects.get_or_create(id="default", defaults={"name": "Default"})
    project = Project.objects.create(name="bench", domain=domain)
    flavor = Flavor.objects.get(name="m1.nano").snapshot()
    for number in range(HOSTS):
        uri = f"fake://{folder}/host-{number}.fake?host=fake-{number}&vcpus=32&memory=65536"
        host = Host.objects.create(name=f"fake-{number}", uri=uri, state="up", vcpus=32, memory_mb=65_536, disk_gb=500)
        _populate(host, project, flavor)


def _populate(host: Any, project: Any, flavor: dict[str, Any]) -> None:
    from compute.hosts.connections import hypervisor_of
    from compute.hypervisor.interface import Disk, Guest, Nic
    from compute.models import Instance
    from compute.operations.layout import Layout

    rows = [_instance(host, project, flavor, number) for number in range(GUESTS)]
    Instance.objects.bulk_create(rows)
    driver: Any = hypervisor_of(host)
    first = rows[0]
    volumes = Layout.of(first).volumes()
    for volume in volumes:
        driver.create_volume(volume, 1 << 30)
    disks = tuple(Disk(volume, f"vd{letter}") for volume, letter in zip(volumes, "ab", strict=True))
    nic = Nic("fa:16:3e:00:00:01", uuid.uuid4())
    driver.define(Guest(first.id, "instance-0", "web", 1, 128, disks=disks, nics=(nic,)))
    driver.start(first.id)
    with driver._state.change() as state:
        for row in rows[1:]:
            state["guests"][str(row.id)] = copy.deepcopy(state["guests"][str(first.id)])
            state["volumes"] |= {name: dict(state["volumes"][volumes[0]]) for name in Layout.of(row).volumes()}


def _instance(host: Any, project: Any, flavor: dict[str, Any], number: int) -> Any:
    from compute.models import Instance

    return Instance(
        name=f"web-{number}", hostname=f"web-{number}", project=project, flavor=flavor, vcpus=1, memory_mb=128,
        disk_gb=1, host=host, vm_state="active", power_state=1, updated_at="2020-01-01T00:00:00Z",
        launched_at="2020-01-01T00:00:00Z",
    )  # fmt: skip


# what is measured -----------------------------------------------------------------------------------------
def passes() -> Results:
    """The CPU time of whole passes, and of the calls to the hosts in them; the least of some."""
    from compute.hosts.connections import hypervisor_of
    from compute.hosts.watch import SYNCS_PER_LOOK, HostWatch
    from compute.models import Host

    watches = [HostWatch(host) for host in Host.objects.all()]
    timed = {watch: Timed(hypervisor_of(watch.host)) for watch in watches}
    drivers = {watch: watch._heard(timed[watch]) for watch in watches}  # type: ignore[arg-type]  # it passes all on
    taken = []
    for number in range(PASSES + 1):
        before, asked = time.process_time(), sum(one.seconds for one in timed.values())
        for watch, driver in drivers.items():
            watch._syncs = SYNCS_PER_LOOK - 1  # each pass looks at the volumes, too
            turn(watch, driver)
        spent = time.process_time() - before
        if number:  # the first one learns what there is
            taken.append((spent, sum(one.seconds for one in timed.values()) - asked))
    spent, asked = min(taken)
    return {"pass": spent, "fake": asked}


def turn(watch: Any, driver: Any) -> None:
    """What a watch does between two waits, when its state sync is due."""
    from compute.networks.removals import remove_due

    watch._sampler.take(driver)
    remove_due(watch.host, driver)
    watch._sync(driver)
    watch._sampler.look_again()


class Timed:
    """A driver whose calls are timed, in CPU time of the process."""

    def __init__(self, driver: Any) -> None:
        self.driver, self.seconds = driver, 0.0

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self.driver, verb)

        def call(*args: Any) -> Any:
            before = time.process_time()
            try:
                return method(*args)
            finally:
                self.seconds += time.process_time() - before

        return call


def rolling() -> Results:
    """An hour of samples of one host made averages, and a day of them read."""
    from compute.models import Host, Instance, Sample, Series
    from compute.statistics import reading
    from compute.statistics.packing import WIDTH, pack_sample
    from compute.statistics.rolling import DAY, HOUR, roll_hour

    host = Host.objects.order_by("pk")[0]
    series = Series.objects.filter(host=host, instance__isnull=False).order_by("pk")
    hour = int(time.time()) // HOUR * HOUR
    times = []
    for start in range(hour - DAY, hour, HOUR):
        packed = pack_sample([float(start % 97)] * WIDTH, {one.pk: [start % 89 / 7] * WIDTH for one in series})
        rows = [Sample(host=host, at=at, values=packed) for at in range(start, start + HOUR, 10)]
        Sample.objects.bulk_create(rows, batch_size=500)
        before = time.process_time()
        roll_hour(host.pk, start)
        times.append(time.process_time() - before)
    instance = Instance.objects.get(pk=series[0].instance_id)
    before = time.process_time()
    load = reading.load_of_instance(instance, "24h")
    assert len(load.at) > 200
    return {"hour": sorted(times)[len(times) // 2], "chart": time.process_time() - before}


def running() -> Results:
    """`manage.py watch_hosts` as it runs: its CPU time and memory, its connections, what it tells the pages."""
    from compute.models import Change, Host

    Host.objects.update(state="new")
    close()
    with watching() as process:
        wait_until("all hosts are up", lambda: Host.objects.up().count() == HOSTS)
        time.sleep(RUN_SECONDS / 3)  # what all do once at their start
        before, began, told = busy(process), time.monotonic(), Change.objects.count()
        connections = []
        while time.monotonic() < began + RUN_SECONDS:
            connections.append(connected(process))
            time.sleep(0.5)
        seconds = time.monotonic() - began
        return {
            "share": (busy(process) - before) / seconds,
            "memory": pss_mb(process),
            "connections": max(connections),
            "changes": (Change.objects.count() - told) / seconds * 60,
        }


@contextlib.contextmanager
def watching() -> Iterator[psutil.Process]:
    """The watcher, in a process of its own."""
    process = subprocess.Popen([sys.executable, "manage.py", "watch_hosts"], cwd=ROOT)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def busy(process: psutil.Process) -> float:
    """Its processor time so far, seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def connected(process: psutil.Process) -> int:
    """How many connections it has to the database now."""
    from django.db import connection

    if connection.vendor == "sqlite":
        name = Path(connection.settings_dict["NAME"]).name
        return sum(one.path.endswith(name) for one in process.open_files())
    port = int(connection.settings_dict["PORT"] or 5432)
    return sum(bool(one.raddr) and one.raddr.port == port for one in process.net_connections(kind="tcp"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
