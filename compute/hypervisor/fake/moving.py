"""A fake host's storage, which others may share, and volumes on their way from one host to another."""

from __future__ import annotations

from typing import BinaryIO
from uuid import NAMESPACE_URL, uuid5

from compute.hypervisor.fake.faults import question, verb
from compute.hypervisor.fake.storage import FakeStorage, disk_size
from compute.hypervisor.interface import Failed, Gone, VolumeFile


class FakeMoving(FakeStorage):
    """Storage that hosts share, and volumes that go to others."""

    @question
    def storage_id(self) -> str:
        """See the interface."""
        return str(uuid5(NAMESPACE_URL, f"{self._state.path}?{self._state.storage}"))

    @question
    def volume_file(self, volume: str, format: str = "qcow2") -> VolumeFile:
        """See the interface."""
        size, _ = self._file(volume)
        with self._state.change() as state:
            base = state["volumes"][volume].get("base_of") if format == "qcow2" else None
            return VolumeFile(size, format, base, state["volumes"][base]["size"] if base else 0)

    @verb
    def receive(self, volume: str, content: BinaryIO, file: VolumeFile) -> None:
        """See the interface."""
        with self._state.change() as state:
            if file.base is not None and not state["volumes"].get(file.base, {}).get("base"):
                raise Gone(f"The host has no base volume {file.base!r}.")
        data = b"".join(iter(lambda: content.read(1 << 20), b""))
        if len(data) != file.size_bytes:
            raise Failed(f"The content has {len(data)} bytes; {file.size_bytes} were announced.")
        self._forget_volume(volume)
        if file.format == "raw":
            self._keep(volume, data, {"size": len(data), "format": "raw"})
        elif data.startswith(b"{"):
            self._keep(volume, None, self._unpacked(volume, data))
        else:
            self._keep(volume, data, {"size": disk_size(data), "format": "qcow2", "file_bytes": len(data)})

    def _keep(self, volume: str, data: bytes | None, known: dict[str, object]) -> None:
        if data is not None:
            self._state.write(volume, data)
        with self._state.change() as state:
            state["volumes"][volume] = known
