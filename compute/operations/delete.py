"""Delete: nothing of the instance stays, neither on the host nor in what is counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone

from compute import quota
from compute.hypervisor.interface import Unreachable
from compute.images import copies
from compute.models import Host, Instance, PowerState, TaskState, VmState
from compute.networks import addresses
from compute.operations import held, in_place
from compute.operations.engine import Operation, Step
from compute.operations.guest import ports_of, remove_guest
from portal.identity.actor import Actor
from scheduler import claims


def host_is_there(instance: Instance) -> bool:
    """Whether there is something to clean up on a host now.

    A host that is down does not hold up a deletion: as in Nova the instance goes from the
    database, and the watcher removes what is left when the host comes back.
    """
    return instance.host is not None and _is_there(instance.host)


def _is_there(host: Host) -> bool:
    host.refresh_from_db(fields=["state", "forced_down", "last_seen_at"])
    return host.is_up


class Delete(Operation):
    """Delete the instance and everything that belongs to it."""

    name = "delete"
    label = "Delete"
    policy = "os_compute_api:servers:delete"
    for_adopted = True
    allowed = frozenset(VmState) - {VmState.DELETED}
    during = TaskState.DELETING
    leads_to = VmState.DELETED
    on_failure = VmState.ERROR
    over = frozenset(TaskState)
    launched = False
    limit: ClassVar[timedelta] = timedelta(minutes=10)

    @classmethod
    def instead(cls, instance: Instance) -> type[Operation]:
        """Where deletions can be taken back, a deletion is a soft one."""
        from compute.operations.soft_delete import stand_in

        return stand_in(instance)

    @classmethod
    def shown(cls, instance: Instance) -> bool:
        """What is deleted already offers to be deleted for good."""
        return instance.vm_state != VmState.SOFT_DELETED

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Remember what it was: a soft-deleted instance has given its quota back already."""
        params["was"] = instance.vm_state

    def _hosts(self) -> list[Host]:
        """Where something of it may be: its host, and the other one of a move that is not over; those that are up."""
        migration, instance = held.open_migration(self.instance), self.instance
        ends = [migration.source_host, migration.dest_host] if migration else []
        hosts = {host.pk: host for host in (instance.host, *ends) if host is not None}
        return [host for host in hosts.values() if _is_there(host)]

    def remove_guest(self) -> None:
        """Cut the power and forget the definition."""
        for host in self._hosts():
            remove_guest(self.hypervisor_of(host), self.instance)

    def remove_disks(self) -> None:
        """Delete every volume whose name begins with the instance's id."""
        for host in self._hosts():
            hypervisor = self.hypervisor_of(host)
            for volume in hypervisor.volumes(prefix=str(self.instance.id)):
                hypervisor.delete_volume(volume)

    def release_networks(self) -> None:
        """Take the DHCP reservations off the host."""
        for host in self._hosts():
            for port in ports_of(self.instance):
                self.hypervisor_of(host).release(port.network_id, port.mac)

    steps = (
        Step("remove_guest", remove_guest, None, TaskState.DELETING),
        Step("remove_disks", remove_disks),
        Step("release_networks", release_networks),
    )

    def outcome(self) -> dict[str, Any]:
        """Gone, but for the record."""
        now = timezone.now()
        return {
            "vm_state": VmState.DELETED,
            "power_state": PowerState.NOSTATE,
            "terminated_at": now,
            "deleted_at": now,
        }

    def completed(self) -> None:
        """Give back the claim, the addresses and the quota together with the state."""
        held.close_open(self.instance)
        claims.release(self.instance, keep_host=True)
        copies.discard_unprotected(self.instance.shelved_image_id)
        addresses.free(self.instance)
        in_place.forget_all(self.instance)
        if not self._was_soft_deleted():
            quota.give_back(self.instance)

    def failed_as(self) -> VmState | None:
        """In error; soft-deleted, if it was that: it is reclaimed again later."""
        return None if self._was_soft_deleted() else self.on_failure

    def _was_soft_deleted(self) -> bool:
        return bool(self.action.params.get("was") == VmState.SOFT_DELETED)

    def try_again(self, error: Exception) -> bool:
        """A host went down meanwhile: finish without it."""
        if not isinstance(error, Unreachable) or error.host_id is None:
            return False
        host = Host.objects.filter(pk=error.host_id).first()
        return host is not None and not host.is_up


class ForceDelete(Delete):
    """Delete the instance at once and for good, also where a deletion could be taken back."""

    name = "force_delete"
    wire = "forceDelete"
    logged_as = "delete"
    label = "Delete for good"
    policy = "os_compute_api:os-deferred-delete:force"

    @classmethod
    def instead(cls, instance: Instance) -> type[Operation]:
        """Nothing else."""
        return cls

    @classmethod
    def shown(cls, instance: Instance) -> bool:
        """Only where it differs from a deletion."""
        return bool(settings.RECLAIM_SECONDS) or instance.vm_state == VmState.SOFT_DELETED
