"""What a resize or cold migration shares with its two ends: the row, the disks as they were, two hosts."""

from __future__ import annotations

from functools import cached_property

from compute.hypervisor.interface import HypervisorError
from compute.models import Host, Migration
from compute.operations import interrupt, moves
from compute.operations.engine import Operation
from compute.operations.layout import Layout

STRANDED = "stranded"  # key of an action's progress


class OfMigration(Operation):
    """An operation with a row ``Migration``: where it leads from and to is there."""

    @cached_property
    def migration(self) -> Migration:
        """The row that the request made or found."""
        rows = Migration.objects.select_related("source_host", "dest_host")
        return rows.get(pk=self.action.params["migration_id"])

    @property
    def source(self) -> Host:
        """The host that it comes from."""
        return self.migration.source_host

    @property
    def target(self) -> Host:
        """The host that it leads to; it may be the same."""
        assert self.migration.dest_host is not None, "no host was chosen yet"
        return self.migration.dest_host

    def old_layout(self) -> Layout:
        """The disks as they were before."""
        return Layout(self.instance.id, self.migration.old_flavor, dict(self.migration.old_volume_names))

    def withdraw(self, host: Host) -> None:
        """For an undo: the guest that may have been started on a host is not there.

        Where the host cannot say so and nobody has said that it is off, the guest is not started on the other
        one: two of one guest are worse than none. Raises what the host raises.
        """
        try:
            moves.clear(self, host, volumes=False)
        except HypervisorError:
            if not moves.is_surely_off(host):
                self.note(**{STRANDED: True})
                raise

    def put_back(self) -> None:
        """Start it again where it is, if it was on, and cannot be running elsewhere."""
        if not self.action.progress.get(STRANDED):
            interrupt.put_back(self)
