"""Adopting a guest: one that runs on a host already becomes an instance, and notices nothing of it.

Its rows come first, and from that moment it is an instance like any other: nothing on the host is needed for
that. The operation then puts Nacelle's mark on the guest; if that fails, its next start does it. The guest keeps
its definition, so whatever makes definitions of rows is refused for it (``Operation.for_adopted``).
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from compute import quota
from compute.errors import Conflict, Invalid, NotFound
from compute.hosts import strangers
from compute.hosts.asking import ask
from compute.hosts.history import note
from compute.hypervisor.adoption import ForeignGuest
from compute.hypervisor.interface import Gone, HypervisorError
from compute.hypervisor.interface import PowerState as Seen
from compute.models import Host, Instance, PowerState, VmState, announce
from compute.operations.create import hostname_from
from compute.operations.engine import Operation, Step, new_action
from compute.operations.guest import define_guest
from portal.identity.actor import Actor
from portal.identity.models import Project
from portal.identity.policy import enforce
from scheduler import claims
from scheduler.aggregates import ratios_of

RULE = "nacelle:host-adopt"
GIB = 1024**3
NAME_CAP = 255
STATES = {
    Seen.RUNNING: (VmState.ACTIVE, PowerState.RUNNING),
    Seen.PAUSED: (VmState.PAUSED, PowerState.PAUSED),
    Seen.SHUTDOWN: (VmState.STOPPED, PowerState.SHUTDOWN),
    Seen.CRASHED: (VmState.STOPPED, PowerState.CRASHED),
}


@dataclass(frozen=True)
class AdoptRequest:
    """How a guest is to be adopted. ``anyway``: also where its claim does not fit into what the host may give."""

    project_id: str
    name: str = ""
    delete_disks: bool = False
    anyway: bool = False


class Adopt(Operation):
    """Put the mark of this cloud on a guest that was adopted."""

    name = "adopt"
    label = "Adopt"
    policy = RULE
    allowed = frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED, VmState.SUSPENDED})
    during = None
    leads_to = None
    in_menu = False
    for_adopted = True

    def mark(self) -> None:
        """Write it into the definition, and into the guest that runs."""
        define_guest(self)

    steps = (Step("mark_guest", mark),)


def adopt(actor: Actor, host: Host, guest_id: UUID, wanted: AdoptRequest) -> Instance:
    """Make a guest on a host an instance of a project; it goes on as it is.

    Raises NotFound, Invalid, Conflict (with what stands in the way) and QuotaExceeded; nothing is changed then.
    """
    enforce(actor, RULE)
    project = Project.objects.filter(pk=wanted.project_id, enabled=True).first()
    if project is None:
        raise Invalid(f"Project {wanted.project_id[:64]} could not be found, or is disabled.", about="project")
    if len(wanted.name.strip()) > NAME_CAP or not wanted.name.isprintable():
        raise Invalid(f"A name has at most {NAME_CAP} characters that can be printed.", about="name")
    guest = _guest(host, guest_id)
    if why := next(strangers.objections(guest), ""):
        raise Conflict(f"{guest.name} cannot be adopted: {why}")
    with transaction.atomic():
        instance = _rows(actor, host, project, guest, wanted)
        new_action(Adopt, instance, actor, {"host": host.name})
        note(host.pk, "state", f"Its guest {guest.name} was adopted into the project {project.name}.", actor)
        announce("server", instance.pk, project.pk)
        announce("host", host.pk)
    return instance


def _guest(host: Host, guest_id: UUID) -> ForeignGuest:
    """What the host says of it now. Raises NotFound and Conflict."""
    _check_new(guest_id)
    try:
        found, foreign = ask(host.uri, lambda hypervisor: (hypervisor.describe(guest_id), hypervisor.foreign()))
    except Gone as error:
        raise NotFound(f"There is no guest {guest_id} on {host.name}.") from error
    except HypervisorError as error:
        raise Conflict(f"{host.name} does not answer: {error}") from error
    if guest_id not in {one.uuid for one in foreign}:
        raise Conflict(f"{found.name} is managed by Nacelle already, here or elsewhere.")
    return found


def _check_new(guest_id: UUID) -> None:
    known = Instance.objects.filter(pk=guest_id).first()
    if known is not None:
        was = "was one until it was deleted; give the guest another UUID" if known.deleted_at else "is one already"
        raise Conflict(f"An instance has the UUID of the guest: {known.name} {was}.")


def _rows(actor: Actor, host: Host, project: Project, guest: ForeignGuest, wanted: AdoptRequest) -> Instance:
    """The instance, its quota and its claim. Call it in a transaction."""
    flavor = flavor_of(guest)
    amounts = {"vcpus": flavor["vcpus"], "memory_mb": flavor["memory_mb"], "disk_gb": flavor["disk_gb"]}
    quota.take(project.pk, instances=1, cores=guest.vcpus, memory_mb=guest.memory_mb)
    _claim(host, guest, amounts, anyway=wanted.anyway)
    vm_state, power_state = STATES[guest.power_state]
    name = wanted.name.strip() or guest.title or guest.name
    now = timezone.now()
    instance = Instance(
        id=guest.uuid,
        name=name[:NAME_CAP],
        hostname=hostname_from(name) or f"server-{guest.uuid}",
        project=project,
        user_id=actor.user_id or None,
        flavor=flavor,
        **amounts,
        adopted=record_of(guest, wanted),
        reservation_id="r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8)),
        vm_state=VmState.SUSPENDED if guest.saved else vm_state,
        power_state=power_state,
        progress=100,
        host=host,
        launched_at=now,
    )
    try:
        with transaction.atomic():
            instance.save(force_insert=True)
    except IntegrityError as error:
        _check_new(guest.uuid)
        raise Conflict(f"{host.name} was removed meanwhile.") from error
    return instance


def flavor_of(guest: ForeignGuest) -> dict[str, Any]:
    """The copy of a flavor that it is given: its exact sizes. Of its disks, those in the host's pool count."""
    disk_gb = sum(-(-disk.capacity_bytes // GIB) for disk in guest.disks if disk.own_pool)
    name = f"adopted-{guest.vcpus}-{guest.memory_mb}-{disk_gb}"
    return {
        "id": name,
        "name": name,
        "vcpus": guest.vcpus,
        "memory_mb": guest.memory_mb,
        "disk_gb": disk_gb,
        "ephemeral_gb": 0,
        "swap_mb": 0,
        "extra_specs": {},
    }


def record_of(guest: ForeignGuest, wanted: AdoptRequest) -> dict[str, Any]:
    """What the instance's row keeps of the guest as it was."""
    return {
        "name": guest.name,
        "disks": [{"target": disk.target, "source": disk.source} for disk in guest.disks if disk.device == "disk"],
        "cards": [{"mac": card.mac, "plugged_into": card.source or card.kind} for card in guest.cards],
        "delete_disks": list(strangers.deletable(guest)) if wanted.delete_disks else [],
    }


def _claim(host: Host, guest: ForeignGuest, amounts: dict[str, int], *, anyway: bool) -> None:
    """Take the claim of a guest that is there already. Raises Conflict where it does not fit."""
    if anyway:
        claims.take_beyond(host.pk, **amounts)
    elif not claims.take_in_place(host.pk, **amounts, ratios=ratios_of(host)):
        size = f"{guest.vcpus} vCPUs, {guest.memory_mb} MiB, {amounts['disk_gb']} GiB"
        raise Conflict(
            f"{guest.name} ({size}) does not fit into what {host.name} may give. It is there all the same; adopt it "
            f"anyway, and {host.name} takes no new instances until there is room."
        )
