"""Delete: nothing of the instance stays, neither on the host nor in what is counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.utils import timezone

from compute import quota
from compute.hypervisor.interface import Unreachable
from compute.models import PowerState, TaskState, VmState
from compute.networks import addresses
from compute.operations.engine import Operation, Step
from compute.operations.guest import ports_of
from scheduler import claims


class Delete(Operation):
    """Delete the instance and everything that belongs to it."""

    name = "delete"
    label = "Delete"
    policy = "os_compute_api:servers:delete"
    allowed = frozenset(VmState) - {VmState.DELETED}
    during = TaskState.DELETING
    leads_to = VmState.DELETED
    on_failure = VmState.ERROR
    over = frozenset(TaskState)
    launched = False
    limit: ClassVar[timedelta] = timedelta(minutes=10)

    def remove_guest(self) -> None:
        """Cut the power and forget the definition."""
        if self._host_is_there():
            self.hypervisor.remove(self.instance.id)

    def remove_disks(self) -> None:
        """Delete every volume whose name begins with the instance's id."""
        if self._host_is_there():
            for volume in self.hypervisor.volumes(prefix=str(self.instance.id)):
                self.hypervisor.delete_volume(volume)

    def release_networks(self) -> None:
        """Take the DHCP reservations off the host."""
        if self._host_is_there():
            for port in ports_of(self.instance):
                self.hypervisor.release(port.network_id, port.mac)

    steps = (
        Step("remove_guest", remove_guest, None, TaskState.DELETING),
        Step("remove_disks", remove_disks),
        Step("release_networks", release_networks),
    )

    def _host_is_there(self) -> bool:
        """Whether there is something to clean up on a host now.

        A host that is down does not hold up a deletion: as in Nova the instance goes from the
        database, and the watcher removes what is left when the host comes back.
        """
        host = self.instance.host
        if host is None:
            return False
        host.refresh_from_db(fields=["state", "forced_down"])
        return host.is_up

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
        claims.release(self.instance, keep_host=True)
        addresses.free(self.instance)
        quota.give_back(self.instance)

    def try_again(self, error: Exception) -> bool:
        """The host went down meanwhile: finish without it."""
        return isinstance(error, Unreachable) and not self._host_is_there()
