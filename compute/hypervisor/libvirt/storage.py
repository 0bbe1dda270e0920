"""The host's storage pool: bases, overlays, uploads. Everything goes through libvirt's streams.

A base is two volumes. ``NAME.data-<random>`` is the raw content, and ``NAME`` an empty qcow2 of a few
kilobytes whose backing file is that content. The second is created last and libvirt creates a name
only once: that one step makes a whole base appear under its name, whatever dies before it, and of two
callers one wins while the other throws its copy away. (libvirt cannot rename a volume, and copying
one on the host is as little atomic as the upload.) Guests' overlays stand directly on the content.
What is left unproved: libvirt does not flush uploads to the disk, so a host that loses power within
its kernel's write-back time, half a minute, can have a base with holes.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import libvirt
from lxml import etree

from compute.hypervisor.interface import Busy, Disk, Failed, Gone
from compute.hypervisor.libvirt import xml, xml_storage
from compute.hypervisor.libvirt.errors import error_class, has_code, ignoring, plain_errors
from compute.hypervisor.libvirt.session import Session

DATA = re.compile(r"(?P<base>.+)\.data-[0-9a-f]{8}")
MARKER = "nacelle-pool-"  # begins the name of the volume that says which storage this is
CHUNK = 256 * 1024  # libvirt's largest stream packet is a little below
HOLE = 64 * 1024  # zeros of this size and more are not sent
ZEROS = bytes(HOLE)
AT_HOLE = -3  # what a stream answers instead of the zeros of a hole (virStreamRecvFlags)
COPY_SECONDS = 3600.0  # a copy on the host takes no longer
POLL_SECONDS = 0.2
ABANDONED_SECONDS = 3600.0  # content that nobody has written to for so long has no uploader any more

_transfers: defaultdict[tuple[str, str, str], threading.Lock] = defaultdict(threading.Lock)


class Storage:
    """The storage verbs of the driver."""

    _session: Session

    @plain_errors()
    def volumes(self, prefix: str = "") -> dict[str, int]:
        """See the interface. One call, and one more for each volume that is asked for."""
        found = {}
        for volume in self._session.pool().listAllVolumes():
            name = volume.name()
            if name.startswith(prefix) and not DATA.fullmatch(name) and not name.startswith(MARKER):
                with ignoring(libvirt.VIR_ERR_NO_STORAGE_VOL):
                    found[name] = volume.info()[1]
        return found

    @plain_errors()
    def has_base(self, volume: str) -> bool:
        """See the interface. Two calls."""
        return self._base_content(volume) is not None

    @plain_errors()
    def ensure_base(self, volume: str, size_bytes: int, open_raw: Callable[[], Iterator[bytes]]) -> bool:
        """See the interface, and this module's first lines for how."""
        with _transfers[self._session.uri, self._session.pool_name, volume]:
            if self._base_content(volume) is not None:
                return False
            self.look_anew()  # another host with the same storage may have brought it
            if self._base_content(volume) is not None:
                return False
            self._delete(volume)  # not ours, or broken: a base that is not whole has no content
            data = f"{volume}.data-{secrets.token_hex(4)}"
            try:
                self._send(self._create(data, size_bytes), open_raw(), size_bytes)
                self._publish(volume, data, size_bytes)
            except BaseException:
                self._delete(data)
                raise
            self._sweep(volume, data)
            return True

    @plain_errors()
    def create_overlay(self, volume: str, base: str, size_bytes: int) -> None:
        """See the interface. ``base`` was made by ``ensure_base``; raises Gone if it is not there."""
        content = self._base_content(base)
        if content is None:
            raise Gone(f"The host has no base volume {base!r}.")
        self._create(volume, size_bytes, "qcow2", content)

    @plain_errors()
    def create_volume(self, volume: str, size_bytes: int, format: str = "qcow2") -> None:
        """See the interface."""
        self._create(volume, size_bytes, format)

    @plain_errors()
    def upload(self, volume: str, content: BinaryIO, size_bytes: int, format: str = "raw") -> None:
        """See the interface. ``format`` says what the bytes are; they are sent as they come."""
        self._delete(volume)
        target = self._create(volume, size_bytes)
        try:
            self._send(target, iter(lambda: content.read(CHUNK), b""), size_bytes)
        except BaseException:
            self._delete(volume)
            raise

    def download(self, volume: str, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """See the interface. Of a base, the raw content."""
        with plain_errors():
            content = self._base_content(volume)
            name = content.rsplit("/", 1)[-1] if content else volume
            yield from self._receive(self._session.pool().storageVolLookupByName(name), offset, length)

    @plain_errors()
    def delete_volume(self, volume: str) -> None:
        """See the interface. A base goes with its content; its name goes first."""
        description = self._describe(volume)
        if description is None:
            self._sweep(volume, None)
            return
        content = self._own_content(volume, description.findtext("backingStore/path"))
        self._delete(volume)
        if content is not None:
            self._delete(content.rsplit("/", 1)[-1])

    @plain_errors()
    def resize_volume(self, volume: str, size_bytes: int) -> None:
        """See the interface. Raises Gone. QEMU's lock is what makes it Busy; it guards qcow2 volumes only."""
        found = self._session.pool().storageVolLookupByName(volume)
        if found.info()[1] < size_bytes:
            found.resize(size_bytes)

    @plain_errors()
    def copy_volume(self, volume: str, target: str) -> None:
        """See the interface. The host's qemu-img copies; what nobody wrote stays unwritten, and with the base.

        libvirt finishes a copy whose caller is gone, and lets nobody delete the target before.
        """
        pool = self._session.pool()
        source = pool.storageVolLookupByName(volume)
        _when_free(lambda: self._delete(target))  # a copy that the host is still making is waited for
        backing = etree.fromstring(source.XMLDesc()).findtext("backingStore/path")
        element = xml_storage.volume(target, source.info()[1], "qcow2", backing)
        try:
            pool.createXMLFrom(xml.to_string(element), source, 0)
        except BaseException:
            with ignoring():
                self._delete(target)
            raise

    @plain_errors()
    def stored_bytes(self, volume: str) -> int:
        """See the interface. Raises Gone."""
        return int(self._session.pool().storageVolLookupByName(volume).info()[2])

    # for the other parts of the driver -------------------------------------------------------------
    def disk_source(self, disk: Disk) -> xml.DiskSource:
        """Where the disk's volume lies, with what it stands on. Raises Gone and Failed.

        Of an overlay, only a base's content is accepted below it: a header that names another file
        was not written by us. A disk that is said to be raw is never asked what it looks like,
        except for the one question whether it is a base.
        """
        description = self._describe(disk.volume)
        if description is None:
            raise Gone(f"The host has no volume {disk.volume!r}.")
        path, backing = f"{self._session.pool_path}/{disk.volume}", description.findtext("backingStore/path")
        if disk.format == "raw":
            return xml.DiskSource(self._own_content(disk.volume, backing) or path)
        if backing is not None and self.base_of(backing) is None:
            raise Failed(f"The volume {disk.volume!r} stands on a file that is no base.")
        return xml.DiskSource(path, backing)

    def base_of(self, path: str) -> str | None:
        """The name of the base whose content lies at this path; None when it is no base's."""
        folder, _, name = path.rpartition("/")
        match = DATA.fullmatch(name)
        return match["base"] if match is not None and folder == self._session.pool_path else None

    def look_anew(self) -> None:
        """libvirt reads the pool's folder again. It does not while it makes a copy there, which is waited for."""
        _when_free(lambda: self._session.pool().refresh())

    # within ---------------------------------------------------------------------------------------
    def _describe(self, volume: str) -> Any:
        """The volume's XML, or None."""
        with ignoring(libvirt.VIR_ERR_NO_STORAGE_VOL):
            return etree.fromstring(self._session.pool().storageVolLookupByName(volume).XMLDesc())
        return None

    def _base_content(self, volume: str) -> str | None:
        description = self._describe(volume)
        return None if description is None else self._own_content(volume, description.findtext("backingStore/path"))

    def _own_content(self, volume: str, backing: str | None) -> str | None:
        """The path, if it is the content of the base of just this name."""
        match = DATA.fullmatch(backing or "")
        own = match is not None and match["base"] == f"{self._session.pool_path}/{volume}"
        return backing if own else None

    def _create(self, volume: str, size_bytes: int, format: str = "raw", backing: str | None = None) -> Any:
        """Create it, or find that it is there."""
        element = xml_storage.volume(volume, size_bytes, format, backing)
        try:
            return self._session.pool().createXML(xml.to_string(element))
        except libvirt.libvirtError as error:
            if not has_code(error, libvirt.VIR_ERR_STORAGE_VOL_EXIST):
                raise
            return self._session.pool().storageVolLookupByName(volume)

    def _publish(self, volume: str, data: str, size_bytes: int) -> None:
        """Make the name appear; another caller may have been faster, and then ours is not needed."""
        content = f"{self._session.pool_path}/{data}"
        self._create(volume, size_bytes, "qcow2", content)
        if self._base_content(volume) != content:
            self._delete(data)

    def _delete(self, volume: str) -> None:
        with ignoring(libvirt.VIR_ERR_NO_STORAGE_VOL):
            self._session.pool().storageVolLookupByName(volume).delete()

    def _sweep(self, base: str, newest: str | None) -> None:
        """Delete content of this base that no name refers to: what dead uploaders left behind.

        ``newest``, just written, is the host's clock: only what is much older is taken for dead.
        Without it the base itself was deleted, and nothing of it is needed.
        """
        kept = self._base_content(base)
        for name in self._session.pool().listVolumes():
            match = DATA.fullmatch(name)
            if match is None or match["base"] != base or f"{self._session.pool_path}/{name}" == kept:
                continue
            if newest is None or self._modified(newest) - self._modified(name) > ABANDONED_SECONDS:
                self._delete(name)

    def _modified(self, volume: str) -> float:
        description = self._describe(volume)
        return 0.0 if description is None else float(description.findtext("target/timestamps/mtime", "0"))

    def _send(self, volume: Any, chunks: Iterable[bytes], size_bytes: int) -> None:
        """Write the content, leaving zeros out. Raises Failed if it is not of the size announced."""
        with self._stream() as stream:
            volume.upload(stream, 0, size_bytes, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
            sent = _send_sparse(stream, chunks)
            if sent != size_bytes:
                raise Failed(f"The content has {sent} bytes; {size_bytes} were announced.")

    def _receive(self, volume: Any, offset: int, length: int) -> Iterator[bytes]:
        with self._stream() as stream:
            volume.download(stream, offset, length, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
            while data := stream.recvFlags(CHUNK, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE):
                if data == AT_HOLE:
                    yield from _zeros(stream.recvHole())
                else:
                    yield data

    @contextmanager
    def _stream(self) -> Iterator[Any]:
        """A stream that is finished after the block, or given up if the block raises."""
        stream = self._session.connection().newStream(0)
        try:
            yield stream
        except BaseException:
            with ignoring():
                stream.abort()
            raise
        stream.finish()


def _zeros(count: int) -> Iterator[bytes]:
    for start in range(0, count, HOLE):
        yield ZEROS[: min(HOLE, count - start)]


def _when_free(call: Callable[[], object]) -> None:
    """Do it, when the host is not busy with it any more. Raises what it raises, after ``COPY_SECONDS`` also Busy."""
    deadline = time.monotonic() + COPY_SECONDS
    while True:
        try:
            call()
            return
        except libvirt.libvirtError as error:
            if error_class(error) is not Busy or time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


def _send_sparse(stream: Any, chunks: Iterable[bytes]) -> int:
    hole = total = 0
    for block in _blocks(chunks):
        total += len(block)
        if block == ZEROS[: len(block)]:
            hole += len(block)
            continue
        if hole:
            stream.sendHole(hole)
            hole = 0
        _send_all(stream, block)
    if hole:
        stream.sendHole(hole)
    return total


def _blocks(chunks: Iterable[bytes]) -> Iterator[memoryview]:
    for chunk in chunks:
        view = memoryview(chunk)
        yield from (view[start : start + HOLE] for start in range(0, len(view), HOLE))


def _send_all(stream: Any, block: memoryview) -> None:
    while block:
        block = block[stream.send(bytes(block)) :]
