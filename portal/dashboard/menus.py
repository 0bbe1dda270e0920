"""The menu of an instance: how its operations look, and what else is done to it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from compute.errors import Invalid
from compute.models import OPEN_MIGRATIONS, Instance, Migration, MigrationType, VmState
from compute.operations import OPERATIONS, locks, reset_state
from compute.operations.engine import Operation, offered
from compute.operations.engine import request as request_operation
from compute.operations.password import ChangePassword, change_password
from compute.operations.snapshot import CreateImage
from portal.identity.actor import Actor
from portal.identity.policy import allows

ICONS = {
    "start": "play",
    "stop": "stop",
    "reboot": "restart",
    "reboot_hard": "zap",
    "pause": "pause",
    "unpause": "play",
    "suspend": "moon",
    "resume": "play",
    "restore": "undo",
    "rebuild": "disc",
    "rescue": "shield",
    "unrescue": "undo",
    "resize": "sliders",
    "live_migration": "move",
    "migrate": "right",
    "confirmResize": "check",
    "revertResize": "undo",
    "trigger_crash_dump": "warning",
    "create_image": "camera",
    "create_backup": "archive",
    "shelve": "archive",
    "shelve_offload": "archive",
    "unshelve": "undo",
    "evacuate": "right",
    "inject_network_info": "network",
    "delete": "trash",
    "force_delete": "trash",
}
# What starts or frees a guest disturbs nobody; everything else asks first.
_ASKS_NOTHING = frozenset({"start", "unpause", "resume", "restore", "unshelve", "unrescue"})
# What needs a choice has a page for it.
_PAGES = {
    "create_backup": "instance_backup",
    "evacuate": "instance_evacuate",
    "live_migration": "instance_live_migrate",
    "migrate": "instance_migrate",
    "rebuild": "instance_rebuild",
    "rescue": "instance_rescue",
    "resize": "instance_resize",
}
_DANGEROUS = frozenset({"delete", "force_delete", "reboot_hard", "trigger_crash_dump"})

# What the two ends of a cold migration do.
_OF_A_MIGRATION = {
    "confirmResize": "It stays where it is now. What is left of it on the host that it came from is deleted.",
    "revertResize": "It goes back to the host that it came from, with its disks as they were there.",
}


@dataclass(frozen=True)
class Entry:
    """A button. ``sentence`` is what a dialog asks before it is done; empty: it is done at once.

    ``wants`` labels the one text that the dialog asks for; ``secret``: it is not shown while typed.
    ``page`` is the view where its parameters are chosen; then it is a link.
    """

    name: str
    label: str
    icon: str
    dangerous: bool = False
    sentence: str = ""
    wants: str = ""
    secret: bool = False
    page: str = ""


@dataclass(frozen=True)
class Doing:
    """Something besides the operations. ``do`` gets the text that the dialog asked for; raises ComputeError."""

    entry: Entry
    offered: Callable[[Instance, Actor], bool]
    do: Callable[[Actor, Instance, str], None]


def entry(operation: type[Operation]) -> Entry:
    """The button of an operation, with the first line of its documentation as the question."""
    first_line = (operation.__doc__ or "").strip().split("\n")[0]
    return Entry(
        name=operation.name,
        label=operation.label,
        icon=ICONS.get(operation.name, "dot"),
        dangerous=operation.name in _DANGEROUS,
        sentence="" if operation.name in _ASKS_NOTHING else first_line,
        page=_PAGES.get(operation.name, ""),
    )


def _may_lock(instance: Instance, actor: Actor) -> bool:
    return not instance.locked and allows(actor, locks.LOCK, instance.project_id)


def _may_unlock(instance: Instance, actor: Actor) -> bool:
    return instance.locked and locks.may_unlock(actor, instance)


def _may_snapshot(instance: Instance, actor: Actor) -> bool:
    return allows(actor, CreateImage.policy, instance.project_id) and not CreateImage.refusal(instance, actor)


def _snapshot(actor: Actor, instance: Instance, text: str) -> None:
    name = text.strip()
    if len(name) > 255 or not name.isprintable():
        raise Invalid("The name of an image has at most 255 printable characters.")
    request_operation(CreateImage, instance, actor, **({"name": name} if name else {}))


def _may_set_password(instance: Instance, actor: Actor) -> bool:
    may = allows(actor, ChangePassword.policy, instance.project_id)
    return may and not ChangePassword.refusal(instance, actor)


def _may_reset(instance: Instance, actor: Actor) -> bool:
    return allows(actor, reset_state.RULE, instance.project_id)


def _set_password(actor: Actor, instance: Instance, text: str) -> None:
    if not text:
        raise Invalid("Type the new password.")
    change_password(actor, instance, password=text)


def _set_state(state: VmState) -> Callable[[Actor, Instance, str], None]:
    return lambda actor, instance, text: reset_state.reset_state(actor, instance, state=state)


_RESET = "Ends what is under way and sets the state, whatever the host says. The watcher may correct it."
_DOINGS = (
    Doing(
        replace(entry(CreateImage), wants="Name of the image (empty: the instance's name and -snapshot)"),
        _may_snapshot,
        _snapshot,
    ),
    Doing(
        Entry("lock", "Lock", "lock", sentence="Only administrators change it then.", wants="Why (for others to read)"),
        _may_lock,
        lambda actor, instance, text: locks.lock(actor, instance, reason=text),
    ),
    Doing(
        Entry("unlock", "Unlock", "unlock"), _may_unlock, lambda actor, instance, text: locks.unlock(actor, instance)
    ),
    Doing(
        Entry(
            ChangePassword.name,
            ChangePassword.label,
            "key",
            sentence="The agent in the guest sets it for the administrator.",
            wants="New password",
            secret=True,
        ),
        _may_set_password,
        _set_password,
    ),
    Doing(
        Entry("reset_active", "Reset to active", "check", dangerous=True, sentence=_RESET),
        lambda instance, actor: _may_reset(instance, actor) and instance.status != "ACTIVE",
        _set_state(VmState.ACTIVE),
    ),
    Doing(
        Entry("reset_error", "Reset to error", "close", dangerous=True, sentence=_RESET),
        lambda instance, actor: _may_reset(instance, actor) and instance.status != "ERROR",
        _set_state(VmState.ERROR),
    ),
)
DOINGS = {one.entry.name: one for one in _DOINGS}


def entries(instance: Instance, actor: Actor) -> list[Entry]:
    """The menu of an instance, dangerous ones last."""
    return entries_of_each([instance], actor)[0]


def entries_of_each(instances: list[Instance], actor: Actor) -> list[list[Entry]]:
    """The menu of each of them."""
    kinds = _kinds_of_moves(instances)
    return [_entries(one, actor, kinds.get(one.pk, "")) for one in instances]


def _kinds_of_moves(instances: list[Instance]) -> dict[UUID, str]:
    """Of those that wait for it to be confirmed: what was done to them, as the types of migrations."""
    waiting = [one.pk for one in instances if one.vm_state == VmState.RESIZED]
    rows = Migration.objects.filter(instance__in=waiting, status__in=OPEN_MIGRATIONS)
    return dict(rows.values_list("instance", "migration_type")) if waiting else {}


def _entries(instance: Instance, actor: Actor, move: str) -> list[Entry]:
    found = [_as_it_would_be(operation, instance, move) for operation in offered(instance, actor)]
    found += [one.entry for one in DOINGS.values() if one.offered(instance, actor)]
    return sorted(found, key=lambda one: one.dangerous)


def _as_it_would_be(operation: type[Operation], instance: Instance, move: str) -> Entry:
    """The button of an operation, which says what would be done to this instance."""
    stands_in = operation.instead(instance)
    one = entry(operation)
    if move == MigrationType.MIGRATION and operation.name in _OF_A_MIGRATION:
        label = operation.label_for({"migration_type": move})
        return replace(one, label=label, sentence=_OF_A_MIGRATION[operation.name])
    if instance.is_adopted and operation.name in ("delete", "force_delete"):
        return replace(one, sentence=_what_goes(instance, stands_in.name == "soft_delete"))
    return one if stands_in is operation else Entry(one.name, one.label, one.icon, True, entry(stands_in).sentence)


def _what_goes(instance: Instance, later: bool) -> str:
    """What the deletion of an adopted instance deletes, and what it leaves."""
    goes = len(instance.adopted["delete_disks"])
    stays = len(instance.adopted["disks"]) - goes
    said = [f"It is switched off, and {'after a while ' if later else ''}its guest is removed from the host"]
    if goes:
        said.append("the disk that was its alone is deleted" if goes == 1 else f"its {goes} disks are deleted")
    if stays:
        said.append("its disk stays there" if stays == 1 and not goes else f"{stays} of its disks stay there")
    return f"{'; '.join(said)}."


def bulk_entries(actor: Actor) -> list[Entry]:
    """What can be done to several instances at once."""
    wanted = [OPERATIONS[name] for name in ("start", "stop", "delete") if name in OPERATIONS]
    return [entry(operation) for operation in wanted if allows(actor, operation.policy, actor.project_id)]
