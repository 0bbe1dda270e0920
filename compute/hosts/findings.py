"""What a look at a host has brought to light: each with how bad it is, what it is, and what to do about it."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from compute.hosts.survey import Survey
from compute.hypervisor.inspection import CpuComparison

GIB = 1024**3
# The oldest that the driver works with, and what it needs of them.
LIBVIRT_AT_LEAST = 5_006_000
LIBVIRT_WHY = "older ones cannot remove a guest together with all that they know of it (checkpoints)"
QEMU_AT_LEAST = 4_002_000
QEMU_WHY = "older ones cannot copy the disk of a guest that runs"
CLOCK_SECONDS = 2.0
CERTIFICATE_DAYS = 60
SPACE_GB = 10


class Severity(enum.StrEnum):
    """How bad it is."""

    ERROR = "error"  # instances cannot be run there, or not rightly
    WARNING = "warning"  # they can, and something is missing or slow
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One thing that was found. ``about`` names the part of the host, for programs."""

    severity: Severity
    about: str
    sentence: str
    what_to_do: str = ""

    def as_json(self) -> dict[str, str]:
        """As it is stored and answered."""
        return {name: str(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Other:
    """Another host, as far as guests may move there."""

    name: str
    domain_type: str
    architecture: str
    cpu: str


@dataclass(frozen=True)
class Surroundings:
    """What a host is judged by. ``ranges`` are this cloud's networks: name and range. ``named``: in its URI."""

    address: str
    domain_type: str
    ranges: tuple[tuple[str, str], ...] = ()
    others: tuple[Other, ...] = ()
    now: datetime | None = None
    named: str = ""


def judge(found: Survey, around: Surroundings) -> list[Finding]:
    """Everything that there is to say, the worst first."""
    parts = (_made, _versions, _kvm, _pools, _networks, _ranges, _clock, _certificate, _migration, _cpus)
    findings = [finding for part in parts for finding in part(found, around)]
    return sorted(findings, key=lambda one: list(Severity).index(one.severity))


def _made(found: Survey, around: Surroundings) -> Iterator[Finding]:
    for what in found.made:
        yield Finding(Severity.INFO, "made", f"It lacked {what}, which was made.")


def _versions(found: Survey, around: Surroundings) -> Iterator[Finding]:
    facts = found.facts
    for name, has, needed, why in (
        ("libvirt", facts.libvirt_version, LIBVIRT_AT_LEAST, LIBVIRT_WHY),
        ("QEMU", facts.hypervisor_version, QEMU_AT_LEAST, QEMU_WHY),
    ):
        if facts.hypervisor_type == "QEMU" and has < needed:
            yield Finding(
                Severity.ERROR,
                "versions",
                f"Its {name} is {dotted(has)}, and {dotted(needed)} is the least: {why}.",
                f"Bring the host's {name} up to date.",
            )


def _kvm(found: Survey, around: Surroundings) -> Iterator[Finding]:
    if around.domain_type != "kvm" and found.facts.domain_type != "kvm":
        yield Finding(
            Severity.WARNING,
            "kvm",
            "Its processor offers no virtualization (KVM), so guests are emulated, and slow.",
            "Switch virtualization on in the machine's firmware, or nested virtualization on the machine below it.",
        )
    elif around.domain_type != found.facts.domain_type:
        told = "KVM" if around.domain_type == "kvm" else "emulation"
        yield Finding(
            Severity.WARNING,
            "kvm",
            f"It is set to {told}, and libvirt there would choose {found.facts.domain_type}.",
            "Leave the choice to the host, unless there is a reason.",
        )


def _pools(found: Survey, around: Surroundings) -> Iterator[Finding]:
    pool = next(one for one in found.details.pools if one.name == found.details.own_pool)
    if pool.kind != "dir":
        yield Finding(
            Severity.ERROR,
            "pool",
            f"Its storage pool {pool.name} is of the kind {pool.kind}; disks of instances are files in a folder (dir).",
            "Undefine that pool or give it another name, and check again: a new one is made.",
        )
    elif pool.path.rstrip("/") != found.details.own_path:
        yield Finding(
            Severity.ERROR,
            "pool",
            f"Its storage pool {pool.name} lies in {pool.path}; this cloud looks for it in {found.details.own_path}.",
            "Define it anew for that folder; or mount the storage there.",
        )
    if not pool.active:
        yield Finding(
            Severity.ERROR, "pool", f"Its storage pool {pool.name} is not active.", "Start it, and see why it did not."
        )
    elif pool.available_bytes < SPACE_GB * GIB:
        yield Finding(
            Severity.ERROR if pool.available_bytes < GIB else Severity.WARNING,
            "space",
            f"{pool.available_bytes / GIB:.1f} GiB are free in its storage pool, of {pool.capacity_bytes / GIB:.0f}.",
            f"Give {pool.path} more space; a few images and instances soon take {SPACE_GB} GiB.",
        )


def _networks(found: Survey, around: Surroundings) -> Iterator[Finding]:
    for name, why in found.failed.items():
        yield Finding(
            Severity.ERROR,
            "networks",
            f"The network {name} could not be brought up: {why.rstrip('.')}.",
            "See what stands in its way (dnsmasq, the firewall's programs, another network), and check again.",
        )


def _ranges(found: Survey, around: Surroundings) -> Iterator[Finding]:
    for name, text in around.ranges:
        ours = ipaddress.ip_network(text)
        for seen in found.details.networks:
            for theirs in () if seen.ours else seen.ranges:
                if _overlap(ours, theirs):
                    yield Finding(
                        Severity.ERROR if seen.active else Severity.WARNING,
                        "ranges",
                        f"The network {name} ({text}) overlaps with {seen.name} ({theirs}) of the host, "
                        "so traffic to one of them goes astray.",
                        f"Give {seen.name} another range, or take {name} off this cloud.",
                    )
        if _is_within(around.address, ours):
            yield Finding(
                Severity.ERROR,
                "ranges",
                f"Its own address {around.address} lies within the network {name} ({text}) of this cloud.",
                f"Give the host an address elsewhere, or take {name} off this cloud.",
            )


def _clock(found: Survey, around: Surroundings) -> Iterator[Finding]:
    ahead = found.details.clock_ahead
    if ahead is not None and abs(ahead) - found.details.clock_within > CLOCK_SECONDS:
        yield Finding(
            Severity.WARNING,
            "clock",
            f"Its clock, or that of its storage, is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this "
            "control node's.",
            "Have both follow a time server (chrony, systemd-timesyncd).",
        )


def _certificate(found: Survey, around: Surroundings) -> Iterator[Finding]:
    until = found.details.certificate_until
    if until is not None and around.now is not None and until - around.now < timedelta(days=CERTIFICATE_DAYS):
        yield Finding(
            Severity.WARNING,
            "certificate",
            f"Its certificate ends on {until:%F}.",
            f"Run a new setup script on it: manage.py host tls-script {around.named}",
        )


def _migration(found: Survey, around: Surroundings) -> Iterator[Finding]:
    if found.facts.hypervisor_type == "QEMU" and "live-migration" not in found.facts.capabilities:
        yield Finding(Severity.WARNING, "migration", "Its libvirt knows no live migration; instances move when off.")


def _cpus(found: Survey, around: Surroundings) -> Iterator[Finding]:
    """Between which hosts guests can move while they run, as far as CPUs are concerned."""
    both: list[str] = []
    for other in around.others:
        if other.architecture != found.facts.architecture:
            yield _apart(other, f"{other.name} is of another architecture ({other.architecture})")
        elif other.domain_type != around.domain_type:
            yield _apart(other, f"one of the two has KVM and the other emulates ({other.name}: {other.domain_type})")
        elif around.domain_type != "kvm":
            both.append(other.name)  # emulated guests have the same CPU on every host
        elif (compared := found.cpus.get(other.cpu)) is not None:
            if compared.fits_here and compared.fits_there:
                both.append(other.name)
            else:
                yield from _one_way(other.name, compared)
    if both:
        sentence = f"As far as CPUs are concerned, instances can move live between this host and {', '.join(both)}."
        yield Finding(Severity.INFO, "cpu", sentence)


def _apart(other: Other, why: str) -> Finding:
    return Finding(Severity.WARNING, "cpu", f"Instances cannot move live between this host and {other.name}: {why}.")


def _one_way(name: str, compared: CpuComparison) -> Iterator[Finding]:
    fix = "Such instances move when they are off; or keep hosts of one kind together in an aggregate."
    for fits, here, there, lacking in (
        (compared.fits_here, name, "here", compared.lacking_here),
        (compared.fits_there, "here", name, compared.lacking_there),
    ):
        if not fits:
            what = f"lacks {', '.join(lacking)}" if lacking else "is another"
            whose = "this host's CPU" if there == "here" else f"the CPU of {name}"
            yield Finding(
                Severity.WARNING, "cpu", f"Instances started on {_place(here)} cannot move {_way(there)} live: "
                f"{whose} {what}.", fix,
            )  # fmt: skip


def _place(name: str) -> str:
    return "this host" if name == "here" else name


def _way(name: str) -> str:
    return "here" if name == "here" else f"to {name}"


def _overlap(ours: ipaddress.IPv4Network | ipaddress.IPv6Network, text: str) -> bool:
    theirs = ipaddress.ip_network(text)
    return ours.version == theirs.version and theirs.prefixlen > 0 and ours.overlaps(theirs)


def _is_within(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


def dotted(version: int) -> str:
    """libvirt's way of writing a version as one number: 7002022 is 7.2.22."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
