"""The tree of an instance's snapshots as nested lines, and the place in it where the instance stands now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from compute.models import Snapshot, SnapshotState


@dataclass
class Node:
    """A snapshot with the lines that branch off after it; without one: now."""

    snapshot: Snapshot | None = None
    branches: list[list[Node]] = field(default_factory=list)


def lines_of(snapshots: Iterable[Snapshot]) -> list[list[Node]]:
    """Every line from its first snapshot on. The one that leads to now is the last, and goes straight on."""
    rows = list(snapshots)
    if not rows:
        return []
    current = next((one for one in rows if one.current), None)
    children: dict[UUID | None, list[Snapshot]] = defaultdict(list)
    for one in rows:
        children[_parent_of(one, current)].append(one)
    ancestors = _way_to(current, {one.pk: one for one in rows})
    roots = sorted(children[None], key=lambda one: (one.pk in ancestors, one.created_at))
    lines = [_line(root, children, ancestors, current) for root in roots]
    return lines if current else [*lines, [Node()]]


def _parent_of(one: Snapshot, current: Snapshot | None) -> UUID | None:
    """What it is drawn under: one that is being made will stand where the instance stands."""
    making = one.state == SnapshotState.CREATING and current is not None
    return current.pk if making and current else one.parent_id


def _way_to(current: Snapshot | None, by_id: dict[UUID, Snapshot]) -> set[UUID]:
    way: set[UUID] = set()
    while current is not None and current.pk not in way:
        way.add(current.pk)
        current = by_id.get(current.parent_id) if current.parent_id else None
    return way


def _line(
    start: Snapshot, children: dict[UUID | None, list[Snapshot]], ancestors: set[UUID], current: Snapshot | None
) -> list[Node]:
    line: list[Node] = []
    one: Snapshot | None = start
    while one is not None:
        stands_here = one == current
        after = sorted(children[one.pk], key=lambda child: (child.pk in ancestors, child.created_at))
        straight_on = after.pop() if after and not stands_here else None
        line.append(Node(one, [_line(child, children, ancestors, current) for child in after]))
        if stands_here:
            line.append(Node())
        one = straight_on
    return line
