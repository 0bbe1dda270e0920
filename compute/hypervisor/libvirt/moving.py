"""Which storage a host's pool lies on, and volumes on their way from one host to another.

A pool carries a marker, an empty volume with a name of its own. Hosts that see the same marker have the
same folder. libvirt reads a folder when it refreshes the pool, so what another host writes is seen then.
"""

from __future__ import annotations

from typing import BinaryIO
from uuid import uuid4

import libvirt

from compute.hypervisor import qcow2
from compute.hypervisor.interface import Failed, Gone, VolumeFile
from compute.hypervisor.libvirt.errors import ignoring, plain_errors
from compute.hypervisor.libvirt.storage import CHUNK, MARKER, Storage


class Moving(Storage):
    """The verbs about storage that hosts share, and about volumes that go to other hosts."""

    @plain_errors()
    def storage_id(self) -> str:
        """See the interface. Where two hosts have marked one folder at the same time, the first name counts."""
        pool = self._session.pool()
        pool.refresh()
        if not self._markers():
            self._create(f"{MARKER}{uuid4()}", 1)
            pool.refresh()
        return min(self._markers()).removeprefix(MARKER)

    @plain_errors()
    def volume_file(self, volume: str, format: str = "qcow2") -> VolumeFile:
        """See the interface."""
        found = self._session.pool().storageVolLookupByName(volume)
        size = int(found.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])
        if format == "raw":
            return VolumeFile(size, format)
        description = self._describe(volume)
        backing = None if description is None else description.findtext("backingStore/path")
        if backing is None:
            return VolumeFile(size, format)
        base = self.base_of(backing)
        if base is None:
            raise Failed(f"The volume {volume!r} stands on a file that is no base.")
        content = self._session.pool().storageVolLookupByName(backing.rsplit("/", 1)[-1])
        return VolumeFile(size, format, base, int(content.info()[1]))

    @plain_errors()
    def receive(self, volume: str, content: BinaryIO, file: VolumeFile) -> None:
        """See the interface. libvirt learns what the file stands on when it refreshes the pool."""
        chunks = iter(lambda: content.read(CHUNK), b"")
        if file.base is not None:
            backing = self._base_content(file.base)
            if backing is None:
                raise Gone(f"The host has no base volume {file.base!r}.")
            chunks = qcow2.rebased(chunks, backing)
        self._delete(volume)
        target = self._create(volume, file.size_bytes)
        try:
            self._send(target, chunks, file.size_bytes)
            self.look_anew()
        except ValueError as error:
            self._drop(volume)
            raise Failed(str(error)) from error
        except BaseException:
            self._drop(volume)
            raise

    # within ---------------------------------------------------------------------------------------
    def _markers(self) -> list[str]:
        return [name for name in self._session.pool().listVolumes() if name.startswith(MARKER)]

    def _drop(self, volume: str) -> None:
        with ignoring():
            self._delete(volume)
