"""Evacuating by itself: a host of an aggregate that asks for it, when it has been down for long enough.

It is fenced by its method first, and nothing is started elsewhere unless that was confirmed. When many hosts seem to be
down it is more likely this machine that is cut off: then nothing is done, and said so. Every step and every reason to
do nothing is in the host's history.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from compute.errors import ComputeError
from compute.hosts import fencing
from compute.hosts.history import note
from compute.models import (
    EVACUATE_KEY,
    Aggregate,
    Fencing,
    Host,
    HostEvent,
    HostState,
    Instance,
    Relocation,
    RelocationKind,
    announce,
)
from compute.models.fencing import OPEN_FENCINGS
from compute.operations.relocations import evacuate_host
from portal.compiled import Rows
from portal.identity.actor import SYSTEM
from portal.requestid import new_request_id, working_on

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
MOST_FENCINGS = 3
FENCE_AGAIN = timedelta(minutes=1)
KIND = str(RelocationKind.EVACUATION)
_EVACUATED = Rows(lambda: Aggregate.objects.filter(metadata__has_key=EVACUATE_KEY))
NO_METHOD = "It is not evacuated by itself: it has no fence method. Fence it by hand."
GIVEN_UP = f"It is not evacuated by itself: fencing it has failed {MOST_FENCINGS} times. Fence it by hand."


def delays() -> dict[int, int]:
    """The hosts that are to be evacuated by themselves, with how many seconds they must be down."""
    found: dict[int, int] = {}
    for aggregate in _EVACUATED.all():
        if aggregate.evacuates:
            for host in aggregate.hosts.all():
                found[host.pk] = min(aggregate.evacuates_after, found.get(host.pk, aggregate.evacuates_after))
    return found


def cut_off() -> str:
    """Why it may be this machine that is cut off, and not the hosts that are down; empty when it is not likely.

    Hosts that people know to be down do not count: they were switched off, disabled, or fenced by word.
    """
    by_word = Fencing.objects.filter(automatic=False, method="").values("host")
    known = Q(forced_down=True) | Q(enabled=False) | Q(fenced_at__isnull=False, pk__in=by_word)
    rows = Host.objects.exclude(state=HostState.NEW).exclude(known)
    down, all_of_them = rows.filter(state=HostState.DOWN).count(), rows.count()
    if down <= settings.AUTO_EVACUATE_MOST_HOSTS and 2 * down <= all_of_them:
        return ""
    return (
        f"It is not evacuated by itself: {down} of {all_of_them} hosts do not answer, so it may be this machine that "
        "is cut off from them."
    )


class Automatic:
    """Looks now and then, from one watcher. A host counts as down for as long as this watcher has known it to be."""

    def __init__(self) -> None:
        self._next_look = 0.0
        self._since = timezone.now()

    def look(self) -> None:
        """At every host that may be due."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        for host_id, seconds in delays().items():
            due = timezone.now() - timedelta(seconds=seconds)
            down = Host.objects.filter(pk=host_id, state=HostState.DOWN, down_since__lte=due)
            if self._since <= due and down.exists():
                _step(host_id)


def _step(host_id: int) -> None:
    with working_on(new_request_id(), "watcher"):
        try:
            step(host_id)
        except ComputeError as error:
            log.warning("host %s: %s", host_id, error)


def step(host_id: int) -> None:
    """The next step with a host that is due: fence it, or evacuate it, or say why neither."""
    with transaction.atomic():
        host = Host.objects.select_for_update().get(pk=host_id)
        if host.is_up or host.down_since is None or not Instance.objects.alive().filter(host=host).exists():
            return
        if host.is_fenced:
            if not Relocation.objects.filter(host=host, kind=KIND, created_at__gte=host.down_since).exists():
                evacuate_host(SYSTEM, host, automatic=True)
            return
        if why := cut_off() or ("" if host.fence_method else NO_METHOD):
            _say(host, why)
        elif _may_fence(host):
            fencing.fence(SYSTEM, host, automatic=True)


def _may_fence(host: Host) -> bool:
    """Whether it is to be fenced now: not while that is under way, not at once again, and not for ever."""
    tries = list(Fencing.objects.filter(host=host, automatic=True, created_at__gte=host.down_since))
    if host.fencings.filter(state__in=OPEN_FENCINGS).exists():
        return False
    if len(tries) >= MOST_FENCINGS:
        _say(host, GIVEN_UP)
        return False
    return not tries or tries[0].created_at < timezone.now() - FENCE_AGAIN


def _say(host: Host, why: str) -> None:
    """Once while the host is down."""
    if not HostEvent.objects.filter(host=host, message=why, at__gte=host.down_since).exists():
        note(host.pk, KIND, why)
        announce("host", host.pk)
        log.warning("host %s: %s", host.name, why)
