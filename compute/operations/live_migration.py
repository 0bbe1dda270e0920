"""Live migration: the instance goes to another host and runs on meanwhile.

Where both hosts see the same storage its disks stay where they are. Elsewhere volumes are made at the target,
overlays over the target's own base, and QEMU copies what the guest's disks hold while it goes on writing. The
guest runs at the source until all is over there; in the same transaction in which the target counts, the
instance's host is the target. After that nothing is undone: what is left at the source is removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction

from compute.errors import ComputeError
from compute.hosts.connections import hypervisor_of
from compute.hosts.crossings import NoWay, way_between
from compute.hypervisor.interface import Busy, Crossing, HypervisorError, Unsupported
from compute.models import (
    OPEN_MIGRATIONS,
    Host,
    Instance,
    Migration,
    MigrationStatus,
    MigrationType,
    PowerState,
    Snapshot,
    TaskState,
    VmState,
)
from compute.operations import crossing, held, in_place, moves, transfer
from compute.operations.engine import Operation, Step
from compute.operations.guest import guest_of
from compute.operations.layout import Layout
from compute.operations.power import bring_networks
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from scheduler.pick import Request

log = logging.getLogger(__name__)

TO_A_HOST = "os_compute_api:os-migrate-server:migrate_live:host"
GIB = 1 << 30
MOST_TRIES = 3  # that were cut off by a worker's death or a host's silence


def wanted(instance: Instance, params: dict[str, Any], tried: Iterable[int] = ()) -> Request:
    """What is asked of the target."""
    request = moves.wanted(instance, leaves=instance.host, host=params.get("host") or "", tried=tried)
    return replace(request, forced=bool(params.get("force")))


def check_request(instance: Instance, actor: Actor, params: dict[str, Any]) -> Host:
    """The source, when the request makes sense. Raises as ``LiveMigration.prepare``."""
    source = moves.check_source(instance)
    if asked := str(params.get("host") or ""):
        enforce(actor, TO_A_HOST, instance.project_id)
        moves.check_asked(instance, asked)
    if params.get("block_migration"):
        in_place.refuse_with_snapshots(LiveMigration, instance)
    return source


class LiveMigration(Operation):
    """Bring the instance to another host while it runs."""

    name = "live_migration"
    wire = "os-migrateLive"
    logged_as = "live-migration"
    label = "Live migrate"
    policy = "os_compute_api:os-migrate-server:migrate_live"
    lane = "transfer"
    allowed = frozenset({VmState.ACTIVE, VmState.PAUSED})
    during = TaskState.MIGRATING
    leads_to = None
    cancellable = True
    cancel_policy = "os_compute_api:servers:migrations:delete"
    limit: ClassVar[timedelta] = timedelta(hours=12)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``host`` in the parameters is the one that is asked for (empty: the scheduler's choice); ``block_migration``
        says whether the disks are to be copied (None: where they must be); ``force``: whatever the filters say.

        Raises Forbidden, Invalid, and Conflict when the host is down or snapshots would be lost.
        """
        source = check_request(instance, actor, params)
        held.close_open(instance)
        migration = Migration.objects.create(
            instance=instance,
            migration_type=MigrationType.LIVE,
            status=MigrationStatus.QUEUED,
            source_host=source,
            old_flavor=instance.flavor,
            new_flavor=instance.flavor,
            old_vm_state=instance.vm_state,
            old_volume_names=instance.volume_names,
            user_id=actor.user_id,
            project_id=instance.project_id,
        )
        params["migration_id"] = migration.pk

    @cached_property
    def migration(self) -> Migration:
        """The row that the request made."""
        rows = Migration.objects.select_related("source_host", "dest_host")
        return rows.get(pk=self.action.params["migration_id"])

    @property
    def target(self) -> Host:
        """The host that it goes to."""
        assert self.migration.dest_host is not None, "no host was chosen yet"
        return self.migration.dest_host

    # the steps ------------------------------------------------------------------------------------
    def schedule(self) -> None:
        """Choose the target and claim room there."""
        if self.migration.status not in OPEN_MIGRATIONS:
            raise ComputeError("It failed before, and was taken back.")
        if not self._has_crossed:
            request = wanted(self.instance, self.action.params, moves.tried(self))
            moves.claim(self, self.migration, request, MigrationStatus.PREPARING)

    def unschedule(self) -> None:
        """Give the claim at the target back. Unless another one is tried, the migration is over."""
        if self._tries_again:
            held.let_go(self.migration)
            return
        self.action.refresh_from_db(fields=["cancelled_by"])
        ended = MigrationStatus.CANCELLED if self.action.cancelled_by else self._failed_status
        held.close(self.migration, MigrationStatus.COMPLETED if self._has_crossed else ended)

    def check(self) -> None:
        """Whether the guest can run on at the target. Raises Unsupported with the reasons."""
        if self._is_under_way:
            return
        passenger = self.hypervisor_of(self.migration.source_host).passenger(self.instance.id)
        self.note(shared={str(self.target.pk): moves.share_storage(self, self.migration.source_host, self.target)})
        reasons = [*self._own_objections(), *self.hypervisor_of(self.target).objections(passenger)]
        if reasons:
            error = Unsupported(" ".join(reasons))
            error.host_id = self.target.pk
            raise error

    def bring_networks(self) -> None:
        """The target has the networks, and its DHCP knows the addresses, before the guest is there."""
        if not self._is_under_way:
            bring_networks(self, self.target)

    def leave_target(self) -> None:
        """Nothing of the instance stays at the target, unless it has crossed."""
        if self.migration.dest_host is None or self._has_crossed:
            return
        try:
            moves.clear(self, self.target, volumes=self._shares is False)
        except HypervisorError as error:  # the watcher does it, when the host answers
            log.warning("what was prepared for instance %s stays at %s: %s", self.instance.pk, self.target.name, error)

    def make_volumes(self) -> None:
        """Volumes for its disks at the target: empty ones that QEMU fills, and the config drive as it is."""
        if self._is_under_way or self._shares:
            return
        layout, there = Layout.of(self.instance), self.hypervisor_of(self.target)
        here = self.hypervisor_of(self.migration.source_host)
        sizes = here.volumes(prefix=str(self.instance.id))
        files = {volume: here.volume_file(volume) for volume in self._copied(layout)}
        transfer.bring_bases(self, self.migration.source_host, self.target, files.values())
        for volume, file in files.items():
            there.delete_volume(volume)  # one that an earlier try has half filled
            if file.base is None:
                there.create_volume(volume, sizes[volume])
            else:
                there.create_overlay(volume, file.base, sizes[volume])
        config = layout.volume("config")
        there.receive(config, transfer.reading(here.download(config)), here.volume_file(config, "raw"))

    def migrate(self) -> None:
        """The guest crosses. After a fault: which of the two hosts has it, and if it has not crossed, why."""
        if self._is_under_way:
            if crossing.settle(self, self.migration):
                return
            self._begin_again()
        # What is there from an earlier stay must not be taken for the guest that has arrived.
        self.hypervisor_of(self.target).remove(self.instance.id)
        self.note(under_way=True, tries=self.action.progress.get("tries", 0) + 1, percent=0)
        held.set_status(self.migration, MigrationStatus.RUNNING)
        source = self.hypervisor_of(self.migration.source_host)
        progress = crossing.Progress(self, self.migration)
        try:
            source.migrate(self.instance.id, hypervisor_of(self.target), self._how(), progress)
        except HypervisorError as error:
            if crossing.settle(self, self.migration):
                return
            self.leave_target()  # no undo will, if a deletion ended it
            if isinstance(error, Busy) and progress.out_of_time:
                raise ComputeError(crossing.why_out_of_time()) from error
            raise

    def come_back(self) -> None:
        """It goes on at the source; if it has crossed by now, the target is its host."""
        if self._is_under_way and crossing.settle(self, self.migration):
            self._count_target()

    def arrive(self) -> None:
        """From now on the target is the instance's host."""
        self._count_target()

    def settle_paused(self) -> None:
        """One that was paused is paused there as any other; a host that does not do it leaves that to the user."""
        if self.instance.vm_state != VmState.PAUSED:
            return
        try:
            self.hypervisor_of(self.target).settle_paused(self.instance.id)
        except HypervisorError as error:
            log.warning("paused instance %s is not settled at %s: %s", self.instance.pk, self.target.name, error)

    def leave_source(self) -> None:
        """Nothing of it stays at the source. A host that does not answer is cleaned up by the watcher."""
        try:
            moves.clear(self, self.migration.source_host, volumes=self._shares is False)
        except HypervisorError as error:
            source = self.migration.source_host.name
            log.warning("what is left of instance %s stays at %s: %s", self.instance.pk, source, error)

    steps = (
        Step("schedule", schedule, unschedule),
        Step("check", check),
        Step("bring_networks", bring_networks, leave_target),
        Step("make_volumes", make_volumes),
        Step("migrate", migrate, come_back),
        Step("arrive", arrive, final=True),
        Step("settle_paused", settle_paused),
        Step("leave_source", leave_source),
    )

    # its end --------------------------------------------------------------------------------------
    def outcome(self) -> dict[str, Any]:
        """What it was; stopped, if the guest has died meanwhile. A host that does not say is asked by the watcher."""
        fields: dict[str, Any] = {"progress": 100}
        with suppress(HypervisorError):
            if seen := self.hypervisor.guest(self.instance.id):
                fields["power_state"] = power = PowerState(int(seen.power_state))
                if power in (PowerState.SHUTDOWN, PowerState.CRASHED):
                    fields["vm_state"] = VmState.STOPPED
        return fields

    def completed(self) -> None:
        """What was held at the source is given back."""
        held.close(self.migration, MigrationStatus.COMPLETED)

    def outran(self) -> bool:
        """Whether the guest has crossed before its cancellation came to it."""
        return self._is_under_way and crossing.settle(self, self.migration)

    def try_again(self, error: Exception) -> bool:
        """A target that cannot take it, or fails before anything has crossed, makes room for the next."""
        asked_for = bool(self.action.params.get("host"))
        self._tries_again = not asked_for and not self._is_under_way and moves.try_next(self, self.migration, error)
        return self._tries_again

    # within ---------------------------------------------------------------------------------------
    _tries_again = False

    @property
    def _is_under_way(self) -> bool:
        """Whether the guest may have begun to cross."""
        return bool(self.action.progress.get("under_way"))

    @property
    def _has_crossed(self) -> bool:
        return self.instance.host_id == self.migration.dest_host_id

    @property
    def _shares(self) -> bool | None:
        """Whether both hosts see the same volumes. None: nobody has looked; then none may be deleted."""
        found: bool | None = self.action.progress.get("shared", {}).get(str(self.migration.dest_host_id))
        return found

    @property
    def _failed_status(self) -> MigrationStatus:
        return MigrationStatus.FAILED if self._is_under_way else MigrationStatus.ERROR

    def _own_objections(self) -> list[str]:
        """What speaks against it that no host can tell."""
        asked, found = self.action.params.get("block_migration"), []
        if asked and self._shares:
            found.append("Its disks are to be copied, but both hosts see the same storage.")
        if asked is False and not self._shares:
            found.append("Its disks are not to be copied, but the hosts do not see the same storage.")
        if not self._shares and Snapshot.objects.filter(instance=self.instance).exists():
            found.append("It has in-place snapshots, which only a host with the same storage can take over.")
        try:
            way_between(self.migration.source_host, self.target)
        except NoWay as error:
            found.append(str(error))
        return found

    def _copied(self, layout: Layout) -> list[str]:
        """The volumes that QEMU copies: all that the guest writes to."""
        return [] if self._shares else [disk.volume for disk in layout.disks() if not disk.read_only]

    def _how(self) -> Crossing:
        way = way_between(self.migration.source_host, self.target)
        return Crossing(
            guest=guest_of(self.instance, self.target),
            address=way.address,
            encrypted=way.encrypted,
            copied=tuple(self._copied(Layout.of(self.instance))),
            bandwidth_mb=settings.LIVE_MIGRATION_BANDWIDTH_MB,
            downtime_ms=settings.LIVE_MIGRATION_DOWNTIME_MS,
            auto_converge=settings.LIVE_MIGRATION_AUTO_CONVERGE,
            post_copy=settings.LIVE_MIGRATION_POST_COPY,
        )

    def _begin_again(self) -> None:
        """A worker died over it, or a host was silent, and the guest is at the source: once more from empty volumes."""
        if self.action.progress.get("tries", 0) >= MOST_TRIES:
            raise ComputeError(f"It was cut off {MOST_TRIES} times.")
        self.leave_target()
        self.note(under_way=False)
        self.bring_networks()
        self.make_volumes()

    def _count_target(self) -> None:
        if self._has_crossed:
            return
        with transaction.atomic():
            self.lease.renew()
            self.set_instance(host=self.target)
