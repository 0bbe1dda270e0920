"""Life-cycle events of guests, and the loss of the connection."""

from __future__ import annotations

import threading
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


class Events:
    """The verb ``watch`` of the driver."""

    _session: Session

    @plain_errors()
    def watch(self, on_event: Callable[[GuestEvent], None], on_lost: Callable[[str], None]) -> None:
        """See the interface. Raises Unsupported in a process forked after its parent used libvirt."""
        if not event_loop.ensure():
            raise Unsupported("Events need a process that did not inherit a libvirt connection.")
        connection = self._session.connection()
        lost = threading.Event()

        def lifecycle(_connection: Any, domain: Any, event: int, detail: int, _opaque: object) -> None:
            told = translate_event(event, detail)
            if told is not None:
                on_event(GuestEvent(UUID(domain.UUIDString()), *told))

        def closed(_connection: Any, reason: int, _opaque: object) -> None:
            if reason in LOST and not lost.is_set():
                lost.set()
                on_lost(LOST[reason])

        connection.registerCloseCallback(closed, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, None)


def translate_event(event: int, detail: int) -> tuple[GuestEventKind, str] | None:
    """libvirt's event in the interface's words, and its own word for the reason."""
    kind = KINDS.get(event)
    if kind is None:  # SHUTDOWN: on its way; STOPPED follows
        return None
    if kind is not GuestEventKind.STOPPED:
        return kind, ""
    word = STOPPED[detail] if 0 <= detail < len(STOPPED) else str(detail)
    return (GuestEventKind.CRASHED if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED else kind), word
