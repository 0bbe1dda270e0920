"""The guest's file system in memory, written as the archive that the kernel unpacks at boot."""

import stat
from dataclasses import dataclass, field
from pathlib import Path

# 2024-01-01: every build gives every file the same time, so that equal contents make equal images.
FIXED_TIME = 1704067200


@dataclass
class Archive:
    """A cpio archive in the `newc` format, filled entry by entry; it needs no privileges."""

    entries: list[bytes] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def add_folder(self, name: str) -> None:
        """Add a folder and the folders above it, unless they are there.

        Args:
            name: Its path, without a leading slash.
        """
        for path in [*reversed(Path(name).parents), Path(name)]:
            if str(path) not in self.names | {"."}:
                self._add(str(path), stat.S_IFDIR | 0o755, b"")

    def add_file(self, name: str, content: bytes, executable: bool = False) -> None:
        """Add a file, and the folders above it.

        Args:
            name: Its path, without a leading slash.
            content: What it holds.
            executable: Whether it may be run.
        """
        self.add_folder(str(Path(name).parent))
        self._add(name, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def add_link(self, name: str, target: str) -> None:
        """Add a symbolic link, and the folders above it.

        Args:
            name: Its path, without a leading slash.
            target: What it points to.
        """
        self.add_folder(str(Path(name).parent))
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def add_console_device(self) -> None:
        """Add /dev/console, which the first program's output goes to before /dev is mounted."""
        self.add_folder("dev")
        self._add("dev/console", stat.S_IFCHR | 0o600, b"", device=(5, 1))

    def to_bytes(self) -> bytes:
        """Return the whole archive."""
        trailer = self._entry("TRAILER!!!", 0, b"", (0, 0), 0)
        return b"".join([*self.entries, trailer])

    def _add(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self.names.add(name)
        self.entries.append(self._entry(name, mode, content, device, len(self.names)))

    @staticmethod
    def _entry(name: str, mode: int, content: bytes, device: tuple[int, int], number: int) -> bytes:
        links = 2 if stat.S_ISDIR(mode) else 1
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, links, FIXED_TIME, len(content), 0, 0, *device, len(path), 0)
        head = b"070701" + b"".join(b"%08X" % value for value in fields) + path
        return _padded(head) + _padded(content)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
