"""How operations look: icons, and which ask first. What can be done now comes from the engine."""

from __future__ import annotations

from dataclasses import dataclass

from compute.models import Instance
from compute.operations import OPERATIONS
from compute.operations.engine import Operation, offered
from portal.identity.actor import Actor
from portal.identity.policy import allows

ICONS = {"start": "play", "stop": "stop", "reboot": "restart", "reboot_hard": "zap", "delete": "trash"}
# What starts or frees a guest disturbs nobody; everything else asks first.
_ASKS_NOTHING = frozenset({"start", "unpause", "resume", "unlock", "lock", "unshelve", "unrescue"})
_DANGEROUS = frozenset({"delete", "force_delete", "reboot_hard"})


@dataclass(frozen=True)
class Entry:
    """A button. ``sentence`` is what a dialog asks before it is done; empty: it is done at once."""

    name: str
    label: str
    icon: str
    dangerous: bool
    sentence: str


def entry(operation: type[Operation]) -> Entry:
    """The button of an operation, with the first line of its documentation as the question."""
    first_line = (operation.__doc__ or "").strip().split("\n")[0]
    return Entry(
        name=operation.name,
        label=operation.label,
        icon=ICONS.get(operation.name, "dot"),
        dangerous=operation.name in _DANGEROUS,
        sentence="" if operation.name in _ASKS_NOTHING else first_line,
    )


def entries(instance: Instance, actor: Actor) -> list[Entry]:
    """The menu of an instance, dangerous ones last."""
    found = [entry(operation) for operation in offered(instance, actor)]
    return sorted(found, key=lambda one: one.dangerous)


def bulk_entries(actor: Actor) -> list[Entry]:
    """What can be done to several instances at once."""
    wanted = [OPERATIONS[name] for name in ("start", "stop", "delete") if name in OPERATIONS]
    return [entry(operation) for operation in wanted if allows(actor, operation.policy, actor.project_id)]
