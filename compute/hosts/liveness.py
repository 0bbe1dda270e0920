"""Whether a host answers: what the watcher writes of it, and what everybody else goes by.

Three words. A host is *up* while its watch hears it. It is *silent* when it is connected and has not
answered for a few seconds: operations then wait in their rows, and no worker waits with them. It is
*down* when the connection is lost or refused, or after ``HOST_DOWN_AFTER_SECONDS`` of silence: the
scheduler leaves it out. What the watcher wrote long ago counts for nothing (``Host.is_up``). Up and down
are written by ``compute.hosts.registration``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from compute.hypervisor.interface import Unreachable
from compute.models import Host, HostState, announce
from portal.compiled import Rows, given

log = logging.getLogger(__name__)


_SEEN = ("name", "state", "state_reason", "forced_down", "last_seen_at", "silent_since")
_AS_SEEN = Rows(lambda: Host.objects.only(*_SEEN).filter(**given(Host, "pk")))


class Silent(Unreachable):
    """The host is connected and does not answer now. It is not down: it may answer in a moment."""


# what the watcher writes --------------------------------------------------------------------------------
def mark_silent(host_id: int) -> None:
    """The host is connected and does not answer; it may yet."""
    _write_silence(Host.objects.filter(pk=host_id, silent_since=None), host_id, timezone.now())


def mark_answering(host_id: int) -> None:
    """The host was silent, and answers."""
    _write_silence(Host.objects.filter(pk=host_id, silent_since__isnull=False), host_id, None)


def _write_silence(changed: QuerySet[Host], host_id: int, since: datetime | None) -> None:
    with transaction.atomic():
        if changed.update(silent_since=since, updated_at=timezone.now()):
            announce("host", host_id)
            log.warning("host %s %s", host_id, "does not answer" if since else "answers again")


def write_heartbeats(silences: Mapping[int, float]) -> None:
    """One UPDATE for all hosts that answer. ``silences``: seconds since each of the hosts answered last.

    A host that has been given up meanwhile (``Host.is_unheard``) is not called up by this: it may have been
    fenced, and comes back as any other does that was down.
    """
    heard = [pk for pk, seconds in silences.items() if seconds <= settings.HOST_SILENT_AFTER_SECONDS]
    rows = Host.objects.heard().filter(pk__in=heard)
    with transaction.atomic():
        list(rows.select_for_update(no_key=True).order_by("pk").values_list("pk"))  # in the order of the claims
        rows.update(last_seen_at=timezone.now())


def beat_seconds() -> float:
    """How often heartbeats are written: several times before a host counts as down."""
    return min(10.0, settings.HOST_DOWN_AFTER_SECONDS / 4)


# what everybody else goes by ----------------------------------------------------------------------------
def check_answers(host_id: int, patience: float = 0.0) -> None:
    """Whether a call to the host is worth its while, by the rows alone. Raises Unreachable, for one that is down.

    Raises Silent when it has been silent for longer than ``patience`` seconds.
    """
    row = _AS_SEEN.first(pk=host_id)
    if row is None:
        raise Unreachable("The host is not registered any more.")
    _check(row, patience)


def answering(host_ids: Iterable[int]) -> set[int]:
    """Those of several hosts that ``check_answers`` has nothing against, by one question."""
    found = set()
    for row in Host.objects.only(*_SEEN).filter(pk__in=set(host_ids)):
        with suppress(Unreachable):
            _check(row, 0.0)
            found.add(row.pk)
    return found


def _check(row: Host, patience: float) -> None:
    if row.state_now == HostState.DOWN:
        raise Unreachable(f"{row.name} is down. {row.why_down}".strip())
    if row.silent_since and (timezone.now() - row.silent_since).total_seconds() >= patience:
        raise Silent(f"{row.name} does not answer at the moment.")
