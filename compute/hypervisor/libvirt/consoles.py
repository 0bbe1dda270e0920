"""A guest's screen, its serial port, and the log of what it said there.

The logs lie in a storage pool of their own, so that they can be read through the connection, and so
that looking for new files there does not look at every disk.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.interface import Busy, VncEndpoint
from compute.hypervisor.libvirt import xml, xml_storage
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.session import Session


class Serial:
    """A stream to a guest's serial port. See SerialStream in the interface."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._closed = threading.Event()
        self._ended = False

    def receive(self, size: int) -> bytes:
        """See the interface."""
        if self._ended or self._closed.is_set():
            return b""
        try:
            data: bytes = self._stream.recv(size)
        except libvirt.libvirtError:  # cut off: by us, by another reader, or with the guest
            data = b""
        self._ended = not data
        return data

    def send(self, data: bytes) -> None:
        """See the interface. Raises one of the six errors when the stream has ended."""
        with plain_errors():
            while data:
                data = data[self._stream.send(data) :]

    def close(self) -> None:
        """See the interface."""
        if not self._closed.is_set():
            self._closed.set()
            with contextlib.suppress(libvirt.libvirtError):  # it had ended
                self._stream.abort()


class Consoles:
    """The console verbs of the driver."""

    _session: Session

    @plain_errors()
    def vnc(self, uuid: UUID) -> VncEndpoint:
        """See the interface. Raises Gone, and Busy while the guest is off: it has no screen then."""
        description = etree.fromstring(self._session.domain(uuid).XMLDesc())
        graphics = description.find("devices/graphics[@type='vnc']")
        if graphics is None or int(graphics.get("port", "-1")) < 0:
            raise Busy("The guest is not running.")
        return VncEndpoint(graphics.get("listen", "127.0.0.1"), int(graphics.get("port", "")))

    @plain_errors()
    def serial(self, uuid: UUID) -> Serial:
        """See the interface. Raises Gone, and Busy while the guest is off."""
        domain = self._session.domain(uuid)
        stream = self._session.connection().newStream(0)
        try:
            domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        except libvirt.libvirtError as error:
            if has_code(error, libvirt.VIR_ERR_OPERATION_INVALID):
                raise Busy("The guest is not running.") from error
            raise
        return Serial(stream)

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
