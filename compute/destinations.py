"""Where a running instance could go now: for administrators host by host, for others whether there is a host at all.

Nobody is asked for this: rows alone decide. What a host itself has to say (its CPU, its QEMU) is heard when it
comes to it, and then the next best host gets its turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compute.errors import Conflict, Invalid
from compute.hosts.crossings import NoWay, way_between
from compute.hosts.storage import shares_storage
from compute.models import Host, Instance, Snapshot
from compute.operations.live_migration import TO_A_HOST, LiveMigration, check_request, wanted
from compute.operations.worker import without_hosts
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce
from scheduler.pick import evaluate

MOST_SHOWN = 50
NEEDS_SAME = "has another storage; the instance has in-place snapshots, which cannot be copied"


@dataclass(frozen=True)
class Destination:
    """A host that it could go to. ``why_not`` is empty when it can."""

    host: Host
    shared: bool  # both hosts see the same storage: its disks stay where they are
    why_not: str = ""


@dataclass(frozen=True)
class Outlook:
    """``fitting`` hosts can take it; ``sentence`` says what is short when none can. ``hosts``: for who may choose."""

    fitting: int
    sentence: str
    hosts: list[Destination]


def outlook(actor: Actor, instance: Instance) -> Outlook:
    """Where an instance could go now."""
    found = evaluate(wanted(instance, {}))
    source = instance.host
    if source is None or not allows(actor, TO_A_HOST, instance.project_id):
        return Outlook(len(found.hosts), "" if found.hosts else without_hosts(found.explanation.sentence()), [])
    refused: dict[str, str] = {}
    for verdict in found.explanation.rejected:
        refused.setdefault(verdict["host"], verdict["why"])
    order = {view.id: place for place, view in enumerate(found.hosts)}
    others = sorted(Host.objects.exclude(pk=source.pk), key=lambda host: (order.get(host.pk, len(order)), host.name))
    has_snapshots = Snapshot.objects.filter(instance=instance).exists()
    hosts = [
        _destination(source, host, has_snapshots, "" if host.pk in order else refused.get(host.name, "cannot take it"))
        for host in others[:MOST_SHOWN]
    ]
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


def _destination(source: Host, host: Host, has_snapshots: bool, why_not: str) -> Destination:
    shared = shares_storage(source, host)
    if not why_not and has_snapshots and not shared:
        why_not = NEEDS_SAME
    if not why_not:
        try:
            way_between(source, host, look_up=False)
        except NoWay as error:
            why_not = str(error)
    return Destination(host, shared, why_not)
