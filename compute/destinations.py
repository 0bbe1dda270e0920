"""Where an instance could go now: for administrators host by host, for others whether there is a host at all.

Nobody is asked for this: rows alone decide. What a host itself has to say (its CPU, its QEMU) is heard when it
comes to it, and then the next best host gets its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compute.errors import Conflict, Invalid
from compute.hosts.crossings import NoWay, way_between
from compute.hosts.storage import shares_storage
from compute.models import Host, Instance, Snapshot
from compute.operations import moves, resize
from compute.operations.live_migration import TO_A_HOST, LiveMigration, check_request, wanted
from compute.operations.worker import without_hosts
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce
from scheduler.aggregates import show_overcommit
from scheduler.pick import Request, evaluate

MOST_SHOWN = 50
NEEDS_SAME = "has another storage; the instance has in-place snapshots, which cannot be copied"


@dataclass(frozen=True)
class Destination:
    """A host that it could go to. ``why_not`` is empty when it can."""

    host: Host  # with the overcommit that its aggregates ask for
    shared: bool  # both hosts see the same storage: its disks stay where they are
    why_not: str = ""


@dataclass(frozen=True)
class Outlook:
    """``fitting`` hosts can take it; ``sentence`` says what is short when none can. ``hosts``: for who may choose."""

    fitting: int
    sentence: str
    hosts: list[Destination]


def live_outlook(actor: Actor, instance: Instance) -> Outlook:
    """Where it could go while it runs."""
    has_snapshots = Snapshot.objects.filter(instance=instance).exists()

    def objection(source: Host, host: Host, shared: bool) -> str:
        return NEEDS_SAME if has_snapshots and not shared else _no_way(source, host)

    return _outlook(instance, wanted(instance, {}), objection, sees_hosts=allows(actor, TO_A_HOST, instance.project_id))


def cold_outlook(actor: Actor, instance: Instance) -> Outlook:
    """Where it could go while it is off."""
    request = moves.wanted(instance, leaves=instance.host)
    sees_hosts = allows(actor, resize.TO_HOST, instance.project_id)
    return _outlook(instance, request, lambda source, host, shared: "", sees_hosts=sees_hosts)


def _outlook(
    instance: Instance, request: Request, objection: Callable[[Host, Host, bool], str], *, sees_hosts: bool
) -> Outlook:
    """What the scheduler says, and what else speaks against a host, if anything (``objection``: by the rows alone)."""
    found = evaluate(request)
    source = instance.host
    if source is None or not sees_hosts:
        return Outlook(len(found.hosts), "" if found.hosts else without_hosts(found.explanation.sentence()), [])
    refused: dict[str, str] = {}
    for verdict in found.explanation.rejected:
        refused.setdefault(verdict["host"], verdict["why"])
    order = {view.id: place for place, view in enumerate(found.hosts)}
    rows = Host.objects.exclude(pk=source.pk).prefetch_related("aggregates")
    others = sorted(rows, key=lambda host: (order.get(host.pk, len(order)), host.name))
    hosts = []
    for host in others[:MOST_SHOWN]:
        show_overcommit(host)
        shared = shares_storage(source, host)
        why_not = "" if host.pk in order else refused.get(host.name, "cannot take it")
        hosts.append(Destination(host, shared, why_not or objection(source, host, shared)))
    return Outlook(len(found.hosts), "" if found.hosts else found.explanation.sentence(), hosts)


def check_now(instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
    """For who waits for the decision: whether there is a host that could take it, going by the rows alone.

    Raises as ``LiveMigration.prepare``, Conflict, and Invalid with the reason when there is none.
    """
    enforce(actor, LiveMigration.policy, instance.project_id)
    if why := LiveMigration.refusal(instance, actor):
        raise Conflict(why)
    check_request(instance, actor, params)
    found = evaluate(wanted(instance, params))
    if not found.hosts:
        raise Invalid(without_hosts(found.explanation.sentence()))


def _no_way(source: Host, host: Host) -> str:
    try:
        way_between(source, host, look_up=False)
    except NoWay as error:
        return str(error)
    return ""
