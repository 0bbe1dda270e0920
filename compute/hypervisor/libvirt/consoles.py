"""A guest's screen, its serial port, and the log of what it said there.

The logs lie in a storage pool of their own, so that they can be read through the connection, and so
that looking for new files there does not look at every disk.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.interface import Busy, Failed, Unsupported, VncEndpoint
from compute.hypervisor.libvirt import xml, xml_storage
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.session import Session

NOTHING_YET = -2  # what a stream that does not block answers instead of waiting
FULL_SECONDS = 0.01


class Serial:
    """A stream to a guest's serial port, over a connection of its own. See SerialStream in the interface.

    No thread ever waits inside libvirt here, and only one is inside at a time. The client of libvirt
    9.0 can lose the wake-up of a thread that waits for the host when another begins a call at that
    moment; both then sleep until the next keepalive, five seconds later. So the stream does not
    block, the event loop tells when there is something to read, and a lock keeps callers apart.
    """

    _READABLE = libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP

    def __init__(self, connection: Any, uuid: UUID) -> None:
        self._connection = connection
        self._stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ended = False
        connection.lookupByUUIDString(str(uuid)).openConsole(None, self._stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        self._stream.eventAddCallback(0, self._on_event, None)

    def receive(self, size: int) -> bytes:
        """See the interface."""
        while True:
            data = self._receive_now(size)
            if data is not None:
                return data
            self._news.wait()

    def send(self, data: bytes) -> None:
        """See the interface. Raises one of the six errors when the stream has ended."""
        while data:
            sent = self._send_now(data)
            data = data[sent:]
            if not sent:
                time.sleep(FULL_SECONDS)

    def close(self) -> None:
        """See the interface."""
        with self._lock:
            if self._connection is None:
                return
            self._ended = True
            for end in (self._stream.eventRemoveCallback, self._stream.abort, self._connection.close):
                with contextlib.suppress(libvirt.libvirtError):  # it had ended
                    end()
            self._connection = None
        self._news.set()

    def _receive_now(self, size: int) -> bytes | None:
        """What has come; b"" after the end; None if nothing has come yet, and then an event will tell."""
        with self._lock:
            self._news.clear()
            if self._ended:
                return b""
            try:
                data: Any = self._stream.recv(size)
                if data == NOTHING_YET:
                    self._stream.eventUpdateCallback(self._READABLE)
                    return None
            except libvirt.libvirtError:  # cut off: by another reader, or with the guest
                data = b""
            self._ended = not data
            return bytes(data)

    def _send_now(self, data: bytes) -> int:
        with self._lock, plain_errors():
            if self._ended:
                raise Failed("The serial port was closed.")
            return max(0, int(self._stream.send(data)))

    def _on_event(self, stream: Any, events: int, opaque: Any) -> None:
        """In the event loop's thread. It goes on telling until it is told to stop."""
        with contextlib.suppress(libvirt.libvirtError):
            stream.eventUpdateCallback(0)
        self._news.set()


class Consoles:
    """The console verbs of the driver."""

    _session: Session

    @plain_errors()
    def vnc(self, uuid: UUID) -> VncEndpoint:
        """See the interface. Raises Gone, Busy while it is off, and Unsupported where it has no such screen."""
        description = etree.fromstring(self._session.domain(uuid).XMLDesc())
        graphics = description.find("devices/graphics[@type='vnc']")
        if graphics is None:
            raise Unsupported("The guest has no VNC screen.")
        if int(graphics.get("port", "-1")) < 0:
            raise Busy("The guest is not running.")
        return VncEndpoint(graphics.get("listen", "127.0.0.1"), int(graphics.get("port", "")))

    @plain_errors()
    def serial(self, uuid: UUID) -> Serial:
        """See the interface. Raises Gone, and Busy while the guest is off."""
        connection = self._session.another_connection()
        try:
            return Serial(connection, uuid)
        except libvirt.libvirtError as error:
            connection.close()
            if has_code(error, libvirt.VIR_ERR_OPERATION_INVALID):
                raise Busy("The guest is not running.") from error
            raise

    @plain_errors()
    def console_log(self, uuid: UUID, max_bytes: int = 102_400) -> bytes:
        """See the interface. It begins anew at each start of the guest.

        virtlogd begins a new file after 2 MiB and renames the old one; where the new one has less
        than was asked for, the end of the old one is put before it.
        """
        tail = self._tail(log_name(uuid), max_bytes)
        if len(tail) < max_bytes:
            tail = self._tail(f"{log_name(uuid)}.0", max_bytes - len(tail)) + tail
        return tail

    @plain_errors()
    def console_logs(self) -> set[UUID]:
        """See the interface. One call."""
        found = set()
        for name in self._session.console_pool().listVolumes():
            with contextlib.suppress(ValueError):  # somebody else's file
                found.add(UUID(name.partition(".")[0]))
        return found

    # for the other parts of the driver -------------------------------------------------------------
    def make_console_log(self, uuid: UUID) -> str:
        """The path of the guest's log on the host. The pool knows it from now on: it would have to
        be refreshed to see a file that virtlogd made."""
        volume = xml.to_string(xml_storage.volume(log_name(uuid), 0))
        try:
            self._session.console_pool().createXML(volume)
        except libvirt.libvirtError as error:
            if not has_code(error, libvirt.VIR_ERR_STORAGE_VOL_EXIST):
                raise
        return f"{self._session.console_path}/{log_name(uuid)}"

    def delete_console_log(self, uuid: UUID) -> None:
        """Delete the log with the older files that virtlogd keeps."""
        pool = self._session.console_pool()
        with contextlib.suppress(libvirt.libvirtError):  # busy with another caller's log; known files still go
            pool.refresh()
        for name in pool.listVolumes():
            if name.startswith(log_name(uuid)):
                self._delete_log(pool, name)

    # within ---------------------------------------------------------------------------------------
    def _delete_log(self, pool: Any, name: str) -> None:
        try:
            pool.storageVolLookupByName(name).delete()
        except libvirt.libvirtError as error:
            if not has_code(error, libvirt.VIR_ERR_NO_STORAGE_VOL):
                raise

    def _tail(self, name: str, max_bytes: int) -> bytes:
        """The end of a file in the console pool; b"" if it is not there."""
        if max_bytes <= 0:
            return b""
        try:
            volume = self._session.console_pool().storageVolLookupByName(name)
            size = volume.info()[1]
        except libvirt.libvirtError as error:
            if has_code(error, libvirt.VIR_ERR_NO_STORAGE_VOL):
                return b""
            raise
        return self._read(volume, max(0, size - max_bytes), min(size, max_bytes))

    def _read(self, volume: Any, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        stream = self._session.connection().newStream(0)
        volume.download(stream, offset, length, 0)
        parts = []
        while data := stream.recv(262_144):
            parts.append(data)
        stream.finish()
        return b"".join(parts)


def log_name(uuid: UUID) -> str:
    """The volume of a guest's console log."""
    return f"{uuid}.log"
