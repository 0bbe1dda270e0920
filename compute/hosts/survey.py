"""Looking at a host: everything that is asked of it at once, when it is added and when it is checked.

No rows here: it runs in a thread that may be left behind. What it finds is judged in ``findings``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from compute.hypervisor.adoption import ForeignGuest
from compute.hypervisor.inspection import CpuComparison, HostDetails
from compute.hypervisor.interface import HostFacts, Hypervisor, HypervisorError, NetworkSpec


@dataclass(frozen=True)
class Named:
    """A network that the host shall have, and what people call it."""

    name: str
    spec: NetworkSpec


@dataclass(frozen=True)
class Survey:
    """What a host has answered. ``failed`` names networks that it could not bring up, and why."""

    made: tuple[str, ...]
    facts: HostFacts
    details: HostDetails
    cpus: dict[str, CpuComparison] = field(default_factory=dict)  # by the other's CPU
    failed: dict[str, str] = field(default_factory=dict)
    foreign: tuple[ForeignGuest, ...] = ()


def survey(hypervisor: Hypervisor, networks: Iterable[Named], cpus: Iterable[str]) -> Survey:
    """Prepare the host, bring up these networks, and look. Raises HypervisorError."""
    made, failed = [*hypervisor.prepare()], {}
    for network in networks:
        try:
            if hypervisor.ensure_network(network.spec):
                made.append(f"the network {network.name}")
        except HypervisorError as error:
            failed[network.name] = str(error)
    return Survey(
        made=tuple(made),
        facts=hypervisor.facts(),
        details=hypervisor.inspect(),
        cpus={cpu: hypervisor.compare_cpu(cpu) for cpu in sorted(set(cpus))},
        failed=failed,
        foreign=hypervisor.foreign(),
    )
