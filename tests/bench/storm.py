"""A storm of requests: many instances asked for at once, on PostgreSQL and Redis, with fake hosts.

Everything but the hosts is real: `manage.py run` with its processes, the API over HTTP, the queue. The
servers and this Nacelle are the storm's own (``python -m tests.bench.storm`` below
``scripts/with-servers.sh``), and are gone after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import redis

from tests.bench.figures import Figure
from tests.e2e.nacelle import ROOT, Nacelle, title, wait_until
from tests.e2e.wire import Wire

INSTANCES, CLIENTS, HOSTS = int(os.environ.get("STORM_INSTANCES", "1000")), 16, 50
PER_HOST = -(-INSTANCES * 21 // 20 // HOSTS)  # so that hosts are filled to the brim, nearly
NANO, NANO_MB = "42", 128
RATE_GOAL = 50.0
OPENSTACK_RATE = 2.8
PATIENCE = 1200.0  # on a machine that is busy with other things
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Result:
    """What a storm left: counts, and seconds from the first request."""

    asked: int
    active: int
    answered_seconds: float
    active_seconds: float
    hosts_over: int
    differences: int
    p95_request_ms: float
    processor_seconds: dict[str, float]  # by who used them
    transactions: int

    @property
    def rate(self) -> float:
        """Instances a second from the first request until the last one is ACTIVE."""
        return self.active / self.active_seconds


def measure() -> tuple[list[Figure], dict[str, float]]:
    """The storm in processes of its own, and its figures."""
    command = [str(ROOT / "scripts/with-servers.sh"), sys.executable, "-m", "tests.bench.storm"]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 0, f"the storm ended with {ended.returncode}:\n{ended.stdout[-3000:]}"
    result = Result(**json.loads(ended.stdout.splitlines()[-1]))
    name = f"{INSTANCES:,} instances by {CLIENTS} clients, PostgreSQL"
    found = [
        Figure(f"{name}, to ACTIVE", result.rate, "/s", at_least=RATE_GOAL, openstack=OPENSTACK_RATE),
        Figure("    requests answered", result.asked / result.answered_seconds, "/s"),
        Figure("    POST /servers, p95", result.p95_request_ms, "ms"),
        *(
            Figure(f"    processor time of an instance, {who}", seconds / result.asked * 1000, "ms")
            for who, seconds in {**result.processor_seconds, "all": sum(result.processor_seconds.values())}.items()
        ),
        Figure("    transactions of the database, of an instance", result.transactions / result.asked, ""),
        Figure("    instances lost", INSTANCES - result.active, "", 0),
        Figure("    hosts over capacity", result.hosts_over, "", 0),
        Figure("    claims that differ from the instances", result.differences, "", 0),
    ]
    return found, asdict(result)


def main() -> int:
    """One storm below the servers that DATABASE_URL and REDIS_URL name; the last line is its result as JSON."""
    assert os.environ.get("DATABASE_URL", "").startswith("postgres"), "scripts/with-servers.sh starts the servers"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running() as nacelle:
        print(json.dumps(asdict(storm(nacelle))))
    return 0


@contextlib.contextmanager
def running() -> Iterator[Nacelle]:
    """A Nacelle with fake hosts alone; nothing of it stays."""
    nacelle = Nacelle(NACELLE_LOG_LEVEL="WARNING", NACELLE_RAM_RATIO="1.0")  # a fake guest has its memory for real
    nacelle.data.mkdir(mode=0o750, exist_ok=True)
    try:
        os.environ.update(nacelle.settings, **nacelle.servers.environment, DJANGO_SETTINGS_MODULE="portal.settings")
        import django

        django.setup()
        furnish(nacelle.data)
        nacelle.start()
        yield nacelle
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            nacelle.stop()
        close()
        nacelle.servers.remove()
        shutil.rmtree(nacelle.folder, ignore_errors=True)


def close() -> None:
    """Let go of the database."""
    from portal.setup.forks import close_connections

    close_connections()


def furnish(data: Path) -> None:
    """The base data, an image that is there for its name alone, hosts with just enough room, no quota."""
    from compute import quota
    from compute.hosts.registration import add_host
    from compute.images.registration import register_image
    from compute.models.quota import UNLIMITED
    from portal.identity.actor import SYSTEM
    from portal.identity.models import Assignment, Project, Role, User
    from portal.setup import bootstrap

    bootstrap.migrate()
    bootstrap.base_data(print)
    project = Project.objects.get(name="admin", domain_id="default")
    admin, role = User.objects.get(name="admin", domain_id="default"), Role.objects.get(name="admin", domain=None)
    for number in range(CLIENTS):
        own = Project.objects.create(name=f"client-{number}", domain_id="default")
        Assignment.objects.create(user=admin, role=role, project=own)
        quota.set_limits(SYSTEM, own.id, wanted=dict.fromkeys(quota.COUNTED, UNLIMITED))
    with tempfile.NamedTemporaryFile(dir=data) as file:
        file.write(bytes(1 << 16))
        file.flush()
        register_image(
            name="tiny", path=Path(file.name), disk_format="raw", visibility="public", properties={}, project=project
        )
    memory_mb = 512 + PER_HOST * NANO_MB  # beside what is kept back
    for number in range(1, HOSTS + 1):
        uri = f"fake://{data}/host-{number}.fake?host=fake-{number}&vcpus=8&memory={memory_mb}&disk=500"
        add_host(SYSTEM, uri=uri, name=f"fake-{number}")
    close()


def storm(nacelle: Nacelle) -> Result:
    """Ask for them all, and wait until each is ACTIVE, or for good."""
    wires = [client(nacelle, number) for number in range(CLIENTS)]
    image = wires[0].get("/image/v2/images?name=tiny").json["images"][0]["id"]
    wait_until("hello is active", lambda: _count() == 1)
    began, before = time.perf_counter(), Usage.now(nacelle)
    seconds: list[float] = []
    answered: list[float] = []
    threads = [
        threading.Thread(target=ask, args=(wire, image, INSTANCES // CLIENTS + (number < INSTANCES % CLIENTS), seconds))
        for number, wire in enumerate(wires)
    ]
    for thread in threads:
        thread.start()
    watcher = threading.Thread(target=lambda: answered.append(_joined(threads) - began))
    watcher.start()
    with contextlib.suppress(AssertionError):  # a figure says how many were lost
        wait_until("all are active", lambda: _count() == INSTANCES + 1, seconds=PATIENCE, pause=LOOK_SECONDS)
    ended = time.perf_counter() - began
    watcher.join()
    return judged(seconds, answered[0], ended, Usage.now(nacelle).since(before))


def client(nacelle: Nacelle, number: int) -> Wire:
    """A connection into a project of the client's own."""
    wire = Wire(nacelle.address)
    wire.log_in({**nacelle.credentials, "project_name": f"client-{number}"})
    return wire


def _joined(threads: list[threading.Thread]) -> float:
    for thread in threads:
        thread.join()
    return time.perf_counter()


def ask(wire: Wire, image: str, count: int, seconds: list[float]) -> None:
    """One client: it asks for one server after the other."""
    server = {"name": "storm", "flavorRef": NANO, "imageRef": image, "networks": "auto"}
    for _ in range(count):
        answer = wire.post("/compute/v2.1/servers", {"server": server}, **{"OpenStack-API-Version": "compute 2.37"})
        assert answer.status == 202, (answer.status, answer.content[:500])
        seconds.append(answer.seconds)


def _count() -> int:
    from compute.models import Instance

    return Instance.objects.filter(vm_state="active", task_state=None).count()


@dataclass(frozen=True)
class Usage:
    """What everybody has used until now: seconds of the processors, and transactions of the database."""

    seconds: dict[str, float]
    transactions: int

    @classmethod
    def now(cls, nacelle: Nacelle) -> Usage:
        """Nacelle's processes with the fake hosts in them, both servers, and this process with the clients in it."""
        from django.db import connection

        seconds: Counter[str] = Counter()
        for process in nacelle.processes():
            seconds[_program(process, nacelle)] += _busy(process)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_backend_pid(), xact_commit FROM pg_stat_database WHERE datname = current_database()"
            )
            backend, transactions = cursor.fetchone()
        postgres = psutil.Process(backend).parent()
        assert postgres is not None
        seconds["PostgreSQL"] = sum(map(_busy, [postgres, *postgres.children()])) + _busy_and_gone(postgres)
        told = redis.Redis.from_url(os.environ["REDIS_URL"]).info("cpu")
        seconds["Redis"] = told["used_cpu_user"] + told["used_cpu_sys"]
        seconds["the clients"] = time.process_time()
        return cls(dict(seconds), transactions)

    def since(self, before: Usage) -> Usage:
        """What was used between two looks."""
        seconds = {who: round(used - before.seconds.get(who, 0.0), 2) for who, used in self.seconds.items()}
        return Usage(seconds, self.transactions - before.transactions)


def _program(process: psutil.Process, nacelle: Nacelle) -> str:
    """The program of the supervisor that a process belongs to, "supervisor" for the first one."""
    assert nacelle.process is not None
    while process.pid != nacelle.process.pid:
        parent = process.parent()
        if parent is None or parent.pid == nacelle.process.pid:
            return title(process).removeprefix("nacelle ")
        process = parent
    return "supervisor"


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _busy_and_gone(parent: psutil.Process) -> float:
    """What the ended children of a process have used."""
    times = parent.cpu_times()
    return float(times.children_user + times.children_system)


def judged(seconds: list[float], answered: float, ended: float, used: Usage) -> Result:
    """What is there now, against what was asked for."""
    from compute.models import Host
    from compute.reconciliation import differences
    from tests.bench.figures import percentile

    over = [
        host
        for host in Host.objects.all()
        if host.memory_mb_used > host.memory_capacity_mb
        or host.vcpus_used > host.vcpu_capacity
        or host.disk_gb_used > host.disk_capacity_gb
    ]
    return Result(
        asked=len(seconds),
        active=_count() - 1,
        answered_seconds=answered,
        active_seconds=ended,
        hosts_over=len(over),
        differences=len(differences()),
        p95_request_ms=percentile(seconds, 0.95) * 1000,
        processor_seconds=used.seconds,
        transactions=used.transactions,
    )


if __name__ == "__main__":
    sys.exit(main())
