"""The decision: filters, weighers, claim; the next best host when a claim is lost to somebody else."""

from __future__ import annotations

from dataclasses import dataclass

from compute.models import Host
from scheduler import claims
from scheduler.explain import HOSTS_EXPLAINED, Explanation
from scheduler.filters import FILTERS
from scheduler.filters.base import name_of
from scheduler.filters.capacity import CoreFilter, DiskFilter, RamFilter
from scheduler.filters.state import ComputeFilter
from scheduler.hoststate import HostView, Request, view_of
from scheduler.weighers import WEIGHERS
from scheduler.weighers.base import normalised

__all__ = ["Placement", "Request", "place"]

# What a claim asks for besides being first.
CLAIMED = (ComputeFilter(), RamFilter(), DiskFilter(), CoreFilter())


@dataclass(frozen=True)
class Placement:
    """The host whose room is now claimed, or None; and why."""

    host: Host | None
    explanation: Explanation


def place(request: Request) -> Placement:
    """Choose a host and claim the room. Call it inside the transaction that records the choice."""
    explanation = Explanation()
    views = [view_of(host) for host in Host.objects.all()]
    for view in forced(views, request, explanation) if request.forced else rank(views, request, explanation):
        if _claim(view.id, request):
            explanation.chosen = view.name
            return Placement(Host.objects.get(pk=view.id), explanation)
        explanation.reject(view.name, "Claim", _why_not_claimed(view, request))
    return Placement(None, explanation)


def forced(hosts: list[HostView], request: Request, explanation: Explanation) -> list[HostView]:
    """The host that an administrator forces, whatever the filters say; none if it failed this request already."""
    named = [host for host in hosts if host.name == request.host]
    untried = [host for host in named if host.id not in request.tried]
    explanation.considered = len(named)
    explanation.filters.append({"name": "ForcedHost", "into": len(named), "out": len(untried)})
    return untried


def _why_not_claimed(host: HostView, request: Request) -> str:
    """What a forced host lacks, as no filter has said it; else that somebody was faster."""
    missing = [one.why(host, request) for one in CLAIMED if not one.passes(host, request)] if request.forced else []
    return ", ".join(missing) or "its room was taken by another request meanwhile"


def _claim(host_id: int, wanted: Request) -> bool:
    return claims.take(
        host_id,
        vcpus=wanted.vcpus,
        memory_mb=wanted.memory_mb,
        disk_gb=wanted.disk_gb,
        instances=wanted.instances,
    )


def rank(hosts: list[HostView], request: Request, explanation: Explanation) -> list[HostView]:
    """The hosts that can take the request, the best first; what was decided goes into ``explanation``."""
    explanation.considered = len(hosts)
    for one in FILTERS:
        passed = [host for host in hosts if one.passes(host, request)]
        explanation.filters.append({"name": name_of(one), "into": len(hosts), "out": len(passed)})
        if len(passed) < len(hosts):
            kept = {host.id for host in passed}
            for host in (host for host in hosts if host.id not in kept):
                explanation.reject(host.name, name_of(one), one.why(host, request))
        hosts = passed
        if not hosts:
            return []
    return _weigh(hosts, request, explanation)


def _weigh(hosts: list[HostView], request: Request, explanation: Explanation) -> list[HostView]:
    totals = [0.0] * len(hosts)
    parts: list[dict[str, float]] = [{} for _ in hosts]
    for weigher in WEIGHERS:
        raw = [weigher.weigh(host, request) for host in hosts]
        for index, weight in enumerate(normalised(raw)):
            totals[index] += weigher.multiplier * weight
            parts[index][name_of(weigher)] = raw[index]
    order = sorted(range(len(hosts)), key=lambda index: (-totals[index], hosts[index].name))
    explanation.weights = [
        {"host": hosts[index].name, "weight": round(totals[index], 4), "parts": parts[index]}
        for index in order[:HOSTS_EXPLAINED]
    ]
    return [hosts[index] for index in order]
