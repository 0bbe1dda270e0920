"""The watcher: a watch for each host, who of them answers, and the janitor.

The janitor lives here because this is the one process that always loops. Nothing here calls a host: the
watches do, each in a thread of its own, so that one that hangs delays no other.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import close_old_connections
from django.utils import timezone
from django_q.models import Task

from compute.hosts import fence_runs, history
from compute.hosts.liveness import beat_seconds, mark_answering, mark_silent, write_heartbeats
from compute.hosts.registration import mark_down
from compute.hosts.watch import HostWatch
from compute.images import deliver
from compute.images.sweep import sweep
from compute.models import Change, Host, HostState
from compute.operations import doorbell, relocation_steps
from compute.operations.automatic import Automatic
from compute.operations.resize_end import confirm_overdue
from compute.operations.schedules import run_due
from compute.operations.shelve import offload_due
from compute.operations.soft_delete import reclaim
from compute.statistics import rolling
from portal.compiled import Rows
from portal.identity.models import RevokedToken

log = logging.getLogger(__name__)

LOOP_SECONDS = 1.0
STOP_SECONDS = 3.0
CHANGES_KEPT = timedelta(hours=1)
MESSAGES_KEPT = timedelta(days=7)
PRUNE_SECONDS = 300.0
RECLAIM_LOOK_SECONDS = 5.0

_SEEN = ("uri", "state", "silent_since", "last_seen_at", "fenced_at")
_HOSTS = Rows(lambda: Host.objects.order_by("pk").only(*_SEEN))


class Watcher:
    """Keeps a thread for each host, notices those that hang, rings for forgotten operations, prunes."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.watches: dict[int, HostWatch] = {}
        self._rows: dict[int, Host] = {}
        self._looked_at = 0.0
        self._roller = rolling.Roller()
        self._next_beat = 0.0
        self._next_prune = 0.0
        self._next_reclaim = 0.0
        self._automatic = Automatic()

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
        deadline = time.monotonic() + STOP_SECONDS
        for watch in self.watches.values():
            watch.join(timeout=max(0.0, deadline - time.monotonic()))

    def tick(self) -> None:
        """One turn."""
        self._keep_watches()
        self._listen()
        doorbell.sweep()
        fence_runs.sweep()
        self._automatic.look()
        relocation_steps.advance()
        deliver.sweep()
        confirm_overdue()
        run_due()
        self._roller.turn(list(self.watches))
        if time.monotonic() >= self._next_reclaim:
            self._next_reclaim = time.monotonic() + RECLAIM_LOOK_SECONDS
            reclaim()
            offload_due()
        if time.monotonic() >= self._next_prune:
            prune()
            sweep()
            self._next_prune = time.monotonic() + PRUNE_SECONDS

    def _keep_watches(self) -> None:
        """A watch for each host; one that has ended, or whose host has another URI now, is begun anew."""
        self._looked_at = time.monotonic()
        self._rows = {row.pk: row for row in _HOSTS.all()}
        for pk, row in self._rows.items():
            watch = self.watches.get(pk)
            if watch is not None and watch.host.uri != row.uri:
                watch.stopping.set()
            if watch is None or watch.stopping.is_set() or not watch.is_alive():
                self._begin(pk)
        for pk in [pk for pk in self.watches if pk not in self._rows]:
            self.watches.pop(pk).stopping.set()

    def _begin(self, pk: int) -> None:
        if host := Host.objects.filter(pk=pk).first():
            self.watches[pk] = HostWatch(host)
            self.watches[pk].start()

    def _listen(self) -> None:
        """Write who answers, who is silent, and who has been for too long."""
        silences = {pk: watch.silence for pk, watch in self.watches.items() if watch.following_at}
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + beat_seconds()
            write_heartbeats(silences)
        for pk, watch in self.watches.items():
            self._judge(pk, watch)

    def _judge(self, pk: int, watch: HostWatch) -> None:
        """Bring a host's row into line with what its watch hears; most need nothing."""
        row, silence = self._rows[pk], watch.silence
        if silence > settings.HOST_DOWN_AFTER_SECONDS and row.state != HostState.DOWN:
            mark_down(pk, f"No answer for {settings.HOST_DOWN_AFTER_SECONDS} s.")
        if not watch.following_at or watch.following_at > self._looked_at:
            return
        if _was_given_up(row):
            watch.begin_anew.set()
        elif silence > settings.HOST_SILENT_AFTER_SECONDS and row.silent_since is None:
            mark_silent(pk)
        elif silence < settings.HOST_SILENT_AFTER_SECONDS and row.silent_since is not None:
            mark_answering(pk)
        watch.probe()


def _was_given_up(row: Host) -> bool:
    """Whether others may have acted on the belief that the host is off."""
    return row.state == HostState.DOWN or row.is_unheard or row.fenced_at is not None


def prune() -> None:
    """Forget what is older than it is kept: statistics, changes, revoked tokens, sessions, failed messages."""
    now = timezone.now()
    Change.objects.filter(at__lt=now - CHANGES_KEPT).delete()
    RevokedToken.objects.filter(expires_at__lt=now).delete()
    Session.objects.filter(expire_date__lt=now).delete()
    history.prune()
    rolling.prune()
    Task.objects.filter(stopped__lt=now - MESSAGES_KEPT).delete()
