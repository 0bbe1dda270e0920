"""What there is to say of a host, line by line, for who asks on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compute.hosts.checks import last_check, strangers
from compute.models import Host
from scheduler.aggregates import show_overcommit

GIB = 1024**3


def about(host: Host) -> Iterator[tuple[str, Any]]:
    """Each with its name."""
    show_overcommit(host)
    yield "name", host.name
    yield "id", host.uuid
    yield "uri", host.uri
    yield "state", f"{host.state_now} {host.why_down}".strip()
    yield "enabled", "yes" if host.enabled else f"no {host.disabled_reason}".strip()
    yield "zone", host.zone
    yield "console address", host.console_address
    yield "migration address", host.migration_address or "as its URI says"
    yield "machine", host.machine_uuid or "not known yet"
    yield "virtualisation", host.domain_type or host.facts.get("domain_type", "not known yet")
    yield "vCPUs", f"{host.vcpus_used} of {host.vcpu_capacity:g} claimed ({host.vcpus} * {host.cpu_ratio:g})"
    yield (
        "memory, MiB",
        f"{host.memory_mb_used} of {host.memory_capacity_mb:g} claimed "
        f"(({host.memory_mb} - {host.reserved_memory_mb}) * {host.memory_ratio:g})",
    )
    yield (
        "disk, GiB",
        f"{host.disk_gb_used} of {host.disk_capacity_gb:g} claimed "
        f"(({host.disk_gb} - {host.reserved_disk_gb}) * {host.disk_ratio:g})",
    )
    yield "instances", host.instances_used
    if (check := last_check(host)) is not None:
        yield from (line for line in _details(check.details) if line[1])
        yield "checked", f"{check.at:%F %T} UTC"


def _details(details: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    machine = details["machine"]
    yield "hardware", " ".join(filter(None, (machine[name] for name in ("vendor", "product", "version"))))
    yield "serial", machine["serial"]
    yield "firmware", " ".join(filter(None, (machine[name] for name in ("bios_vendor", "bios_version", "bios_date"))))
    for pool in details["pools"]:
        free, size = (pool[name] / GIB for name in ("available_bytes", "capacity_bytes"))
        yield f"pool {pool['name']}", f"{pool['kind']} {pool['path']} {free:.1f} of {size:.1f} GiB free"
    if details["certificate_until"]:
        yield "certificate until", details["certificate_until"][:10]


def findings(host: Host) -> Iterator[str]:
    """What the last check has to say, the worst first."""
    check = last_check(host)
    for one in check.findings if check else ():
        yield f"{one['severity']:<8} {one['sentence']} {one['what_to_do']}".rstrip()


def guests(host: Host) -> Iterator[str]:
    """The guests on it that are not Nacelle's, as the last check saw them."""
    for one in strangers(host):
        disks = ", ".join(disk["source"] for disk in one["disks"] if disk["source"])
        macs = ", ".join(card["mac"] for card in one["cards"])
        sizes = f"{one['vcpus']} vCPUs {one['memory_mb']} MiB"
        yield f"{one['id']} {one['name']} {one['state']} {sizes} {disks} {macs}".rstrip()
        yield from (f"    cannot be adopted: {why}" for why in one["objections"])
