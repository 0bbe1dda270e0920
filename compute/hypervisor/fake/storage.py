"""A fake host's volumes: sizes, and the content of the small ones."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from compute.hypervisor.fake.faults import question, verb
from compute.hypervisor.fake.host import FakeHost
from compute.hypervisor.interface import Busy, Failed, Gone, NoSpace, PowerState

KEPT_BYTES = 4 * 1024**2  # of a larger volume only the size is kept, and it reads as zeros
KNOWN = ("size", "base_of", "snapshots")  # of a qcow2 volume, besides its content
PIECES = 8  # a file comes in so many at least, that there is something to tell of its progress


def kept_content(volume: str, snapshot: str) -> str:
    """The name under which the content of a volume at a snapshot is kept; no volume is called so."""
    return f"{volume}@{snapshot}"


def disk_size(file: bytes | None) -> int:
    """The size of the disk in a qcow2 file, as its header says; 0 of a file that was not kept."""
    return int(struct.unpack_from(">Q", file, 24)[0]) if file else 0


class FakeStorage(FakeHost):
    """Volumes: sizes, and the content of the small ones."""

    @question
    def volumes(self, prefix: str = "") -> dict[str, int]:
        """See the interface."""
        with self._state.look() as state:
            return {name: one["size"] for name, one in state["volumes"].seen() if name.startswith(prefix)}

    @question
    def has_base(self, volume: str) -> bool:
        """See the interface."""
        with self._state.look() as state:
            return bool(state["volumes"].get(volume, {}).get("base"))

    @verb
    def ensure_base(self, volume: str, size_bytes: int, open_raw: Callable[[], Iterator[bytes]]) -> bool:
        """See the interface."""
        with self._state.change() as state:
            if state["volumes"].get(volume, {}).get("base"):
                return False
        self._store(volume, open_raw(), size_bytes, base=True)
        return True

    @verb
    def create_overlay(self, volume: str, base: str, size_bytes: int) -> None:
        """See the interface."""
        with self._state.change() as state:
            if not state["volumes"].get(base, {}).get("base"):
                raise Gone(f"The host has no base volume {base!r}.")
            state["volumes"].setdefault(volume, {"size": size_bytes, "format": "qcow2", "base_of": base})

    @verb
    def create_volume(self, volume: str, size_bytes: int, format: str = "qcow2") -> None:
        """See the interface."""
        with self._state.change() as state:
            state["volumes"].setdefault(volume, {"size": size_bytes, "format": format})

    @verb
    def upload(self, volume: str, content: BinaryIO, size_bytes: int, format: str = "raw") -> None:
        """See the interface. Of a qcow2 file, the size of the disk in it is read from its header."""
        self._store(volume, iter(lambda: content.read(1024**2), b""), size_bytes)
        if format != "qcow2":
            return
        size = disk_size(self._state.read(volume)) or size_bytes
        with self._state.change() as state:
            state["volumes"][volume] = {"size": size, "format": format, "file_bytes": size_bytes}

    @question
    def download(self, volume: str, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """See the interface."""
        size, data = self._file(volume)
        end = min(size, offset + length) if length else size
        piece = min(KEPT_BYTES, size // PIECES + 1)
        for start in range(offset, end, piece):
            stop = min(end, start + piece)
            yield (data or b"")[start:stop].ljust(stop - start, b"\0")

    @verb
    def delete_volume(self, volume: str) -> None:
        """See the interface."""
        self._forget_volume(volume)

    @verb
    def resize_volume(self, volume: str, size_bytes: int) -> None:
        """See the interface."""
        with self._state.change() as state:
            if volume not in state["volumes"]:
                raise Gone(f"The host has no volume {volume!r}.")
            for _, guest in state["guests"].seen():
                if volume in guest["disks"] and guest["power"] != PowerState.SHUTDOWN:
                    raise Busy(f"The volume {volume!r} is in use.")
            size = state["volumes"][volume]["size"]
            state["volumes"][volume]["size"] = max(size, size_bytes)

    @verb
    def copy_volume(self, volume: str, target: str) -> None:
        """See the interface."""
        with self._state.change() as state:
            if volume not in state["volumes"]:
                raise Gone(f"The host has no volume {volume!r}.")
            for _, guest in state["guests"].seen():
                if volume in guest["disks"] and guest["power"] != PowerState.SHUTDOWN:
                    raise Busy(f"The volume {volume!r} is in use.")
            state["volumes"][target] = state["volumes"][volume] | {"snapshots": []}
        self._state.write(target, self._state.read(volume))

    @question
    def stored_bytes(self, volume: str) -> int:
        """See the interface. As if half of each volume were written, but for files that came whole."""
        with self._state.look() as state:
            if volume not in state["volumes"]:
                raise Gone(f"The host has no volume {volume!r}.")
            one = state["volumes"][volume]
            return int(one.get("file_bytes", one["size"] // 2))

    def _file(self, volume: str) -> tuple[int, bytes | None]:
        """How large the volume's file is, and what is in it, if that was kept. Raises Gone."""
        with self._state.change() as state:
            if volume not in state["volumes"]:
                raise Gone(f"The host has no volume {volume!r}.")
            one = state["volumes"][volume]
        if one["format"] == "qcow2" and "file_bytes" not in one:
            packed = self._packed(volume, one)
            return len(packed), packed
        return one.get("file_bytes", one["size"]), self._state.read(volume)

    def _packed(self, volume: str, one: dict[str, Any]) -> bytes:
        """The file of a qcow2 volume that was made here: what is known of it, as JSON."""
        names = {"": volume} | {name: kept_content(volume, name) for name in one.get("snapshots", ())}
        contents = {name: self._state.read(kept) for name, kept in names.items()}
        kept = {name: base64.b64encode(data).decode() for name, data in contents.items() if data is not None}
        return json.dumps({**{key: one[key] for key in KNOWN if key in one}, "contents": kept}).encode()

    def _unpacked(self, volume: str, file: bytes) -> dict[str, Any]:
        """The reverse: keeps the contents, and returns what is known of the volume."""
        packed = json.loads(file)
        for name, data in packed["contents"].items():
            self._state.write(kept_content(volume, name) if name else volume, base64.b64decode(data))
        return {"format": "qcow2"} | {key: packed[key] for key in KNOWN if key in packed}

    def _forget_volume(self, volume: str) -> None:
        with self._state.change() as state:
            one = state["volumes"].pop(volume, {})
        for name in (volume, *(kept_content(volume, snapshot) for snapshot in one.get("snapshots", ()))):
            self._state.write(name, None)

    def _store(self, volume: str, chunks: Iterator[bytes], size_bytes: int, base: bool = False) -> None:
        kept, size = bytearray(), 0
        for chunk in chunks:
            size += len(chunk)
            if size <= KEPT_BYTES:
                kept += chunk
        if size != size_bytes:
            raise Failed(f"The content has {size} bytes; {size_bytes} were announced.")
        if size > self._size("disk", 1_000) * 1024**3:
            raise NoSpace("No space left on device")
        self._state.write(volume, bytes(kept) if size == len(kept) else None)
        with self._state.change() as state:
            state["volumes"][volume] = {"size": size, "format": "raw", "base": base}
