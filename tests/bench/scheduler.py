"""One decision of the scheduler over many hosts, in CPU time of its process.

It runs in a process of its own with a database of its own: 10,000 hosts in a running Nacelle would
keep its watcher busy. Every filter has something to do and refuses some hosts, members of the
server group and busy instances are read from the database each time, and between two decisions five
hosts change, as they would in a cloud where several others claim and release at the same time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from tests.bench.figures import Figure

SIZES = (100, 1_000, 10_000)
GOAL_MS = {1_000: 8.0, 10_000: 50.0}
OPENSTACK_MS = {100: 330.0}  # Nova with placement on a machine like this, from the request to the claim
DECISIONS = 15
CHANGED = 5
FILTERS = (
    "RetryFilter", "AvailabilityZoneFilter", "ComputeFilter", "RamFilter", "DiskFilter", "CoreFilter",
    "ComputeCapabilitiesFilter", "ImagePropertiesFilter", "AggregateMultiTenancyIsolation",
    "ServerGroupAntiAffinityFilter",
)  # fmt: skip
WEIGHERS = ("RAMWeigher", "CPUWeigher", "DiskWeigher", "IoOpsWeigher", "BuildFailureWeigher")
PARTS = (
    "of it: bringing the hosts up to date",
    "with all that is on by default, and the claim",
    "with all that is on by default",
    "all rows read afresh",
)
LISTS, ONE_BY_ONE = "filters, list by list", "filters, host by host"
# Seconds of CPU by what was measured.
Times = dict[str, float]


def measure() -> tuple[list[Figure], dict[str, Times]]:
    """The figures, and the medians behind them by the number of hosts."""
    with tempfile.TemporaryDirectory(prefix="nacelle-bench-") as folder:
        environment = {**os.environ, "NACELLE_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "portal.settings"}
        environment |= {"DATABASE_URL": f"sqlite:///{folder}/scheduler.sqlite3", "NACELLE_LOG_LEVEL": "ERROR"}
        command = [sys.executable, "-m", "tests.bench.scheduler"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    times: dict[str, Times] = json.loads(done.stdout.splitlines()[-1])
    return figures(times), times


def figures(times: dict[str, Times]) -> list[Figure]:
    """The lines of the table."""
    found = []
    for size in SIZES:
        of_size = times[str(size)]
        name = f"decision over {size:,} hosts, 10 filters, 5 weighers"
        found.append(Figure(name, of_size["decision"] * 1000, "ms", GOAL_MS.get(size), OPENSTACK_MS.get(size)))
        found += [Figure(f"    {part}", of_size[part] * 1000, "ms") for part in PARTS]
    small, large = times["1000"]["decision"], times["10000"]["decision"]
    found.append(Figure("growth from 1,000 to 10,000 hosts, of linear", large / small / 10, "x", 1.0))
    saved = times["10000"][PARTS[3]] / times["10000"][PARTS[0]]
    found.append(Figure("reading all rows instead of those that changed", saved, "x"))
    singly = times["10000"][ONE_BY_ONE] / times["10000"][LISTS]
    found.append(Figure("asking the filters host by host instead of list by list", singly, "x"))
    return found


def main() -> None:
    """In the process of its own: fill a database, decide, print the medians as JSON."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    print(json.dumps({str(size): _times(size) for size in SIZES}))


def _times(size: int) -> Times:
    from scheduler import pipeline
    from scheduler.pick import Look

    request = fill(size)
    usual = pipeline.built()
    chosen = pipeline.Pipeline(_named(usual.filters, FILTERS), _named(usual.weighers, WEIGHERS))
    Look.now(fresh=True)
    decision = _median(lambda: _decide(chosen, request))
    refusing = [one["name"] for one in _decide(chosen, request)[1].filters if one["out"] < one["into"]]
    assert refusing == list(FILTERS), "every filter has something to do"
    return {
        "decision": decision,
        PARTS[0]: _median(Look.now),
        PARTS[1]: _median(lambda: _place(request)),
        PARTS[2]: _median(lambda: _decide(usual, request)),
        PARTS[3]: _median(lambda: Look.now(fresh=True)),
        **_filters_alone(chosen, request),
    }


def _filters_alone(chosen: Any, request: Any) -> Times:
    """The same filters over the same hosts, with nothing to read: as they are asked, and one host after another."""
    from scheduler.decide import Deciding
    from scheduler.pick import Look

    look = Look.now()
    look.decide(request)

    def by_lists() -> int:
        return len(Deciding(chosen, request, look.scene).filtered(look.hosts))

    def one_by_one() -> int:
        passing = (host for host in look.hosts if all(one.keep([host], request, look.scene) for one in chosen.filters))
        return len(list(passing))

    assert by_lists() == one_by_one()
    return {LISTS: _median(by_lists), ONE_BY_ONE: _median(one_by_one)}


def _named(every: tuple[Any, ...], names: tuple[str, ...]) -> tuple[Any, ...]:
    by_name = {type(one).__name__: one for one in every}
    return tuple(by_name[name] for name in names)


def _decide(chosen: Any, request: Any) -> tuple[list[Any], Any]:
    from scheduler.pick import Look

    look = Look.now()
    look.pipeline = chosen
    return look.decide(request)


def _place(request: Any) -> None:
    from django.db import transaction

    from scheduler.pick import place

    with transaction.atomic():
        assert place(request).host is not None


def _median(work: Callable[[], object]) -> float:
    taken = []
    for turn in range(DECISIONS):
        _others_change(turn)
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return statistics.median(taken)


def _others_change(turn: int) -> None:
    """What others do between two decisions: claims on some hosts."""
    from django.db.models import F
    from django.utils import timezone

    from compute.models import Host

    first = Host.objects.order_by("id").values_list("id", flat=True)[0]
    count = Host.objects.count()
    changed = {first + (turn * CHANGED + number) * 7 % count for number in range(CHANGED)}
    Host.objects.filter(pk__in=changed).update(vcpus_used=F("vcpus_used") + 0, updated_at=timezone.now())


def fill(size: int) -> Any:
    """So many hosts with aggregates and a server group, and a request for which every filter refuses some."""
    from compute.models import Aggregate, Host, Instance

    Instance.objects.all().delete()
    Aggregate.objects.all().delete()
    Host.objects.all().delete()
    Host.objects.bulk_create([_host(number) for number in range(size)], batch_size=500)
    hosts = list(Host.objects.order_by("name"))
    kept = Aggregate.objects.create(name="kept", metadata={"filter_tenant_id": "somebody"})
    kept.hosts.add(*hosts[7::50])
    rack = Aggregate.objects.create(name="rack", metadata={"availability_zone": "east", "disk_allocation_ratio": "1"})
    rack.hosts.add(*hosts[::2])
    return _request(hosts)


def _host(number: int) -> Any:
    from compute.models import Host

    old = number % 50 == 3
    facts = {
        "hostname": f"host-{number}",
        "architecture": "aarch64" if number % 50 == 9 else "x86_64",
        "hypervisor_type": "QEMU",
        "hypervisor_version": 7_002_000,
        "domain_type": "kvm",
        "cpu_model": "old" if old else "Skylake",
        "cpu_features": [f"feature-{index}" for index in range(100)] + ([] if old else ["vmx"]),
    }
    return Host(
        name=f"host-{number:05}",
        uri=f"fake://bench-{number}",
        zone="west" if number % 50 == 1 else "nova",
        state="down" if number % 50 == 11 else "up",
        console_address=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
        facts=facts,
        vcpus=64,
        memory_mb=262_144,
        disk_gb=4_000,
        vcpus_used=1024 if number % 50 == 15 else number % 60,
        memory_mb_used=393_000 if number % 50 == 19 else number * 37 % 200_000,
        disk_gb_used=4_000 if number % 50 == 21 else number % 900,
        instances_used=number % 40,
        build_failures=number % 97 == 0,
        updated_at="2020-01-01T00:00:00Z",
    )


def _request(hosts: list[Any]) -> Any:
    from compute.models import Instance, ServerGroup
    from portal.identity.models import Domain, Project
    from scheduler.request import Group, Request

    domain, _ = Domain.objects.get_or_create(id="default", defaults={"name": "Default"})
    project, _ = Project.objects.get_or_create(name="bench", domain=domain)
    group, _ = ServerGroup.objects.get_or_create(name="bench", project=project, policy="anti-affinity")
    Instance.objects.bulk_create(
        Instance(
            name=f"web-{index}", hostname=f"web-{index}", project=project, flavor={}, vcpus=1, memory_mb=1, disk_gb=1,
            host=host, server_group=group, task_state="spawning", vm_state="building",
        )
        for index, host in enumerate(hosts[23::50][:20])
    )  # fmt: skip
    return Request(
        vcpus=2, memory_mb=4096, disk_gb=20, zone="nova", tried=frozenset({hosts[5].id}), project_id=project.id,
        extra_specs={"capabilities:cpu_info:features": "<in> vmx", "capabilities:hypervisor_version": ">= 7000000"},
        image_properties={"hw_architecture": "x86_64", "img_hv_type": "kvm", "hw_vm_mode": "hvm"},
        group=Group.of(group),
    )  # fmt: skip


if __name__ == "__main__":
    main()
