"""What administrators say of a host: whether it takes new instances, and whether it is down for sure."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from compute.hosts.history import note
from compute.models import Host, HostState, Relocation, RelocationKind, RelocationState, announce
from portal.identity.actor import Actor
from portal.identity.policy import enforce

RULE = "os_compute_api:os-services"
REASON_CAP = 255
UNSEEN = {"state": HostState.DOWN, "state_reason": "It was said to be down, and is looked at before it counts as up."}


def set_enabled(actor: Actor, host: Host, *, enabled: bool, reason: str = "") -> None:
    """Let a host take new instances, or no more; guests that run there are left alone.

    One that takes new instances is not serviced any more: what drains it stops.
    """
    enforce(actor, RULE)
    with transaction.atomic():
        serviced = {"maintenance": False} if enabled else {}
        _write(host, enabled=enabled, disabled_reason="" if enabled else reason, **serviced)
        if enabled:
            _stop_drain(host)
        takes = "It takes new instances." if enabled else f"It takes no new instances{f': {reason}' if reason else '.'}"
        note(host.pk, "state", takes, actor)


def set_forced_down(actor: Actor, host: Host, *, forced_down: bool) -> None:
    """Say that a host is down whatever the watcher sees (it was fenced), or that it may be up again.

    Once that is taken back it stays down until the watcher has looked: its guests may run elsewhere by now.
    """
    enforce(actor, RULE)
    with transaction.atomic():
        state = Host.objects.select_for_update().only("state", "forced_down").get(pk=host.pk)
        believed = {} if forced_down or not state.forced_down or state.state != HostState.UP else UNSEEN
        _write(host, forced_down=forced_down, **believed)
        said = "It is down, by word." if forced_down else "It is not said to be down any more."
        note(host.pk, "fence", said, actor)


def _write(host: Host, **fields: Any) -> None:
    Host.objects.filter(pk=host.pk).update(updated_at=timezone.now(), **fields)
    announce("host", host.pk)
    for name, value in fields.items():
        setattr(host, name, value)


def _stop_drain(host: Host) -> None:
    now = timezone.now()
    rows = Relocation.objects.filter(host=host, kind=RelocationKind.DRAIN, state=RelocationState.RUNNING)
    rows.update(state=RelocationState.STOPPED, finished_at=now, updated_at=now)
