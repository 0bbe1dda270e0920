"""The watcher: one connection and one thread a host; events, samples, state sync, liveness.

It also runs the janitor, because it is the one process that always loops.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import close_old_connections, connection
from django.utils import timezone
from django_q.models import Task

from compute.hosts import fence_runs, history
from compute.hosts.connections import forget, hypervisor_of
from compute.hosts.registration import mark_down, refresh
from compute.hypervisor.interface import GuestEvent, HostUsage, Hypervisor, HypervisorError, PowerState
from compute.images import deliver
from compute.images.sweep import sweep
from compute.models import Change, Host, HostSample, HostState, announce
from compute.networks.removals import remove_due
from compute.operations import doorbell, leftovers
from compute.operations.observe import Look, observe, observe_all
from compute.operations.resize import confirm_overdue
from compute.operations.schedules import run_due
from compute.operations.shelve import offload_due
from compute.operations.soft_delete import reclaim
from portal.identity.models import RevokedToken
from portal.requestid import new_request_id, working_on

log = logging.getLogger(__name__)

LOOP_SECONDS = 1.0
RECONNECT_SECONDS = 2.0
SETTLE_SECONDS = 0.2  # a stop that a start follows at once (a reboot) is no news
SYNCS_PER_LOOK = 5  # at the volumes: guests are looked at by each
CHANGES_KEPT = timedelta(hours=1)
MESSAGES_KEPT = timedelta(days=7)
PRUNE_SECONDS = 300.0
RECLAIM_LOOK_SECONDS = 5.0


class HostWatch(threading.Thread):
    """Watches one host until told to stop."""

    def __init__(self, host: Host) -> None:
        super().__init__(name=f"watch-{host.name}", daemon=True)
        self.host = host
        self.stopping = threading.Event()
        self.alive_at = time.monotonic()
        self._events: queue.Queue[UUID | None] = queue.Queue()
        self._lost = ""
        self._last_usage: HostUsage | None = None
        self._syncs = 0

    def run(self) -> None:
        """Connect, follow, and connect again when the host was lost."""
        while not self.stopping.is_set():
            try:
                with working_on(new_request_id(), "watcher"):
                    self._follow()
            except HypervisorError as error:
                mark_down(self.host.pk, str(error))
            except Exception as error:
                log.exception("watching host %s", self.host.name)
                mark_down(self.host.pk, f"The watcher failed: {type(error).__name__}")
            finally:
                connection.close()
            self.stopping.wait(RECONNECT_SECONDS)

    def _follow(self) -> None:
        self._lost, self._last_usage = "", None
        refresh(self.host)
        hypervisor = hypervisor_of(self.host)
        hypervisor.watch(self._on_event, self._on_lost)
        log.info("host %s is up", self.host.name)
        self._sync(hypervisor, at_start=True)
        next_sync = time.monotonic() + settings.STATE_SYNC_SECONDS
        while not self.stopping.is_set():
            self.alive_at = time.monotonic()
            if self._lost:
                mark_down(self.host.pk, self._lost)
                return
            self._sample(hypervisor)
            if Host.objects.filter(pk=self.host.pk, state=HostState.DOWN).exists():
                # It did not answer for long. It may have been fenced meanwhile: it comes back as any other does.
                hypervisor.close()
                forget(self.host)
                return
            remove_due(self.host, hypervisor)
            if time.monotonic() >= next_sync:
                self._sync(hypervisor)
                next_sync = time.monotonic() + settings.STATE_SYNC_SECONDS
            connection.close()  # there may be more hosts than the pool has connections
            self._wait_for_events(hypervisor)

    def _on_event(self, event: GuestEvent) -> None:
        log.info("host %s: guest %s %s %s", self.host.name, event.uuid, event.kind, event.detail)
        self._events.put(event.uuid)

    def _on_lost(self, reason: str) -> None:
        self._lost = reason or "the connection was lost"
        self._events.put(None)

    def _wait_for_events(self, hypervisor: Hypervisor) -> None:
        """Handle events until it is time for the next sample."""
        until = time.monotonic() + settings.HOST_SAMPLE_SECONDS
        while not self.stopping.is_set() and not self._lost and (left := until - time.monotonic()) > 0:
            try:
                first = self._events.get(timeout=min(left, 1.0))
            except queue.Empty:
                self.alive_at = time.monotonic()
                continue
            if first is None:
                return
            self.stopping.wait(SETTLE_SECONDS)
            for uuid in {first, *self._waiting()}:
                observe(self.host, uuid, looking_at(hypervisor))
            connection.close()

    def _waiting(self) -> set[UUID]:
        waiting: set[UUID] = set()
        while not self._events.empty():
            if (uuid := self._events.get_nowait()) is not None:
                waiting.add(uuid)
        return waiting

    def _sample(self, hypervisor: Hypervisor) -> None:
        usage = hypervisor.usage()
        now = timezone.now()
        if not Host.objects.filter(pk=self.host.pk).update(last_seen_at=now):
            self.stopping.set()  # it was removed
            return
        if self._last_usage is not None:
            HostSample.objects.create(
                host=self.host,
                at=now,
                cpu_percent=cpu_percent(self._last_usage, usage),
                memory_used_mb=usage.memory_used_mb,
                disk_used_gb=usage.disk_used_gb,
                guests_running=usage.guests_running,
            )
            announce("host", self.host.pk)
        self._last_usage = usage

    def _sync(self, hypervisor: Hypervisor, at_start: bool = False) -> None:
        guests = hypervisor.guests()
        seen = {uuid: guest.power_state for uuid, guest in guests.items()}
        changed = observe_all(self.host, seen, looking_at(hypervisor), at_start=at_start)
        if changed:
            log.info("host %s: %d instances were not as their rows said", self.host.name, changed)
        ours = {uuid for uuid, guest in guests.items() if guest.managed}
        self._syncs += 1
        if at_start or self._syncs % SYNCS_PER_LOOK == 0:
            leftovers.remove(self.host, hypervisor, ours, hypervisor.volumes())
        else:
            leftovers.remove(self.host, hypervisor, ours)


def looking_at(hypervisor: Hypervisor) -> Look:
    """How to ask a host about one guest."""

    def look(uuid: UUID) -> PowerState | None:
        guest = hypervisor.guest(uuid)
        return guest.power_state if guest else None

    return look


def cpu_percent(before: HostUsage, after: HostUsage) -> float:
    """The share of all processors that was busy between two samples, 0 to 100."""
    total = after.cpu_total_seconds - before.cpu_total_seconds
    if total <= 0:
        return 0.0
    return round(min(100.0, max(0.0, 100.0 * (after.cpu_busy_seconds - before.cpu_busy_seconds) / total)), 2)


class Watcher:
    """Keeps a thread for each host, notices those that hang, rings for forgotten operations, prunes."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.watches: dict[int, HostWatch] = {}
        self._next_prune = 0.0
        self._next_reclaim = 0.0

    def run(self) -> None:
        """Until ``stopping`` is set. A database that does not answer is waited for."""
        while not self.stopping.wait(LOOP_SECONDS):
            try:
                close_old_connections()
                self.tick()
            except Exception:
                log.exception("the watcher's loop")
        for watch in self.watches.values():
            watch.stopping.set()
        for watch in self.watches.values():
            watch.join(timeout=3)

    def tick(self) -> None:
        """One turn."""
        hosts = {host.pk: host for host in Host.objects.all()}
        for pk, host in hosts.items():
            watch = self.watches.get(pk)
            if watch is not None and watch.host.uri != host.uri:
                watch.stopping.set()
                watch = None
            if watch is None or not watch.is_alive():
                self.watches[pk] = HostWatch(host)
                self.watches[pk].start()
        for pk in [pk for pk in self.watches if pk not in hosts]:
            self.watches.pop(pk).stopping.set()
        self._notice_hanging()
        doorbell.sweep()
        fence_runs.sweep()
        deliver.sweep()
        confirm_overdue()
        run_due()
        if time.monotonic() >= self._next_reclaim:
            self._next_reclaim = time.monotonic() + RECLAIM_LOOK_SECONDS
            reclaim()
            offload_due()
        if time.monotonic() >= self._next_prune:
            prune()
            sweep()
            self._next_prune = time.monotonic() + PRUNE_SECONDS

    def _notice_hanging(self) -> None:
        """A host whose call has not returned for long is down, whatever its connection says."""
        for pk, watch in self.watches.items():
            if time.monotonic() - watch.alive_at > settings.HOST_DOWN_AFTER_SECONDS:
                mark_down(pk, f"No answer for {settings.HOST_DOWN_AFTER_SECONDS} s.")


def prune() -> None:
    """Forget what is older than it is kept: samples, changes, revoked tokens, sessions, failed messages."""
    now = timezone.now()
    HostSample.objects.filter(at__lt=now - timedelta(hours=settings.HOST_SAMPLE_KEEP_HOURS)).delete()
    Change.objects.filter(at__lt=now - CHANGES_KEPT).delete()
    RevokedToken.objects.filter(expires_at__lt=now).delete()
    Session.objects.filter(expire_date__lt=now).delete()
    history.prune()
    Task.objects.filter(stopped__lt=now - MESSAGES_KEPT).delete()
