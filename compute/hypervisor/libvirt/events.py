"""Life-cycle events of guests, and the loss of the connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import libvirt

from compute.hypervisor.interface import GuestEvent, GuestEventKind, Unsupported
from compute.hypervisor.libvirt import event_loop
from compute.hypervisor.libvirt.errors import plain_errors
from compute.hypervisor.libvirt.session import Session

KINDS = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: GuestEventKind.DEFINED,
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: GuestEventKind.UNDEFINED,
    libvirt.VIR_DOMAIN_EVENT_STARTED: GuestEventKind.STARTED,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: GuestEventKind.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: GuestEventKind.RESUMED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: GuestEventKind.STOPPED,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: GuestEventKind.CRASHED,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: GuestEventKind.SUSPENDED,
}
# Why a guest stopped (virDomainEventStoppedDetailType), for the logs; a crash is told as one.
STOPPED = ("shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot")
LOST = {
    libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "input/output error",
    libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "the host closed the connection",
    libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "the host stopped answering",
}

Watcher = tuple[Callable[[GuestEvent], None], Callable[[str], None]]


class Events:
    """The verb ``watch`` of the driver."""

    _session: Session
    _watched: Any  # the connection that the watchers are told of
    _registration: int
    _watchers: list[Watcher]

    @plain_errors()
    def watch(self, on_event: Callable[[GuestEvent], None], on_lost: Callable[[str], None]) -> None:
        """See the interface. After a loss, a watcher that wants to go on asks again.

        Raises Unsupported in a process that was forked after its parent used libvirt.
        """
        if not event_loop.ensure():
            raise Unsupported("Events need a process that did not inherit a libvirt connection.")
        connection = self._session.connection()
        if self._watched is not connection:  # libvirt takes one callback of a kind for each connection
            self._watchers = []
            connection.registerCloseCallback(self._closed, None)
            kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
            self._registration = connection.domainEventRegisterAny(None, kind, self._lifecycle, None)
            self._watched = connection
        self._watchers.append((on_event, on_lost))

    @plain_errors()
    def close(self) -> None:
        """Let the connection go, watchers untold; a later verb opens a new one."""
        self._watchers = []
        if self._watched is not None and self._watched.isAlive():
            self._watched.unregisterCloseCallback()
            self._watched.domainEventDeregisterAny(self._registration)
        self._watched = None
        self._session.close()

    def _lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: object) -> None:
        told = translate_event(event, detail)
        if told is not None:
            for on_event, _ in tuple(self._watchers):
                on_event(GuestEvent(UUID(domain.UUIDString()), *told))

    def _closed(self, _connection: Any, reason: int, _opaque: object) -> None:
        watchers, self._watchers = self._watchers, []
        for _, on_lost in watchers:
            on_lost(LOST.get(reason, "the connection was closed"))


def translate_event(event: int, detail: int) -> tuple[GuestEventKind, str] | None:
    """libvirt's event in the interface's words, and its own word for the reason."""
    kind = KINDS.get(event)
    if kind is None:  # SHUTDOWN: on its way; STOPPED follows
        return None
    if kind is not GuestEventKind.STOPPED:
        return kind, ""
    word = STOPPED[detail] if 0 <= detail < len(STOPPED) else str(detail)
    return (GuestEventKind.CRASHED if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED else kind), word
