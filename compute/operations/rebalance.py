"""Evening out the load of the hosts: moves are proposed, and made when somebody says so, while the instances run.

``scheduler.balance`` plans them; here it is decided which instances may be moved at all. Who applies a proposal names
it: if the load is another by then, the proposal is another, and nothing is moved.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compute.errors import Conflict
from compute.models import (
    Instance,
    ItemState,
    Relocation,
    RelocationItem,
    RelocationKind,
    RelocationState,
    Snapshot,
)
from compute.operations.relocations import REBALANCE_RULE, begin_rebalance
from compute.operations.ways_off import ON
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from scheduler.balance import Candidate, Move, Plan, plan
from scheduler.pick import Look
from scheduler.request import Request


@dataclass(frozen=True)
class Proposal:
    """Moves, each with its instance; ``key`` names them. ``running``: earlier moves are still being made."""

    plan: Plan
    moves: list[tuple[Instance, Move]]
    look: Look
    running: Relocation | None = None

    @property
    def key(self) -> str:
        """The same for the same moves."""
        text = " ".join(f"{move.instance_id}:{move.source.id}>{move.target.id}" for move in self.plan.moves)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def propose(actor: Actor) -> Proposal:
    """The moves that would even out the load now; none while earlier ones are being made. Raises Forbidden."""
    enforce(actor, REBALANCE_RULE)
    look = Look.now(fresh=True)
    running = Relocation.objects.filter(kind=RelocationKind.REBALANCE, state=RelocationState.RUNNING).first()
    found = plan(look, [] if running else _candidates(), above=settings.REBALANCE_ABOVE, to=settings.REBALANCE_TO)
    if running:
        found.sentence = "The load is being evened out already."
    ids = [move.instance_id for move in found.moves]
    instances = {one.pk: one for one in Instance.objects.filter(pk__in=ids).select_related("project", "host")}
    return Proposal(found, [(instances[move.instance_id], move) for move in found.moves], look, running)


def apply(actor: Actor, key: str) -> Relocation:
    """Have the proposed moves made. Raises Conflict when there are none, or others by now."""
    enforce(actor, REBALANCE_RULE)
    proposal = propose(actor)
    if proposal.running or not proposal.plan.moves:
        raise Conflict(proposal.plan.sentence)
    if proposal.key != key:
        raise Conflict("The load is another by now, and so are the moves. Look at them again.")
    with transaction.atomic():
        moves = ((move.instance_id, move.source.id, move.target.id) for move in proposal.plan.moves)
        return begin_rebalance(actor, moves)


def _candidates() -> list[Candidate]:
    """The instances that may be moved while they run: nobody is at them, nothing speaks against it.

    One that its user has locked stays, one that was adopted, and what was moved for this purpose a short while ago.
    """
    since = timezone.now() - timedelta(seconds=settings.REBALANCE_QUIET_SECONDS)
    quiet = RelocationItem.objects.filter(
        relocation__kind=RelocationKind.REBALANCE, state=ItemState.DONE, finished_at__gte=since
    )
    rows = Instance.objects.alive().filter(vm_state__in=ON, task_state=None, locked=False, adopted={})
    rows = (
        rows.filter(host__isnull=False)
        .exclude(pk__in=quiet.values("instance"))
        .exclude(pk__in=Snapshot.objects.values("instance"))
    )
    return [
        Candidate(Request.of(one), one.host_id)
        for one in rows.select_related("server_group").order_by("pk")
        if one.host_id is not None
    ]
