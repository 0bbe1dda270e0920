"""A small read-only file system: ISO 9660 with Rock Ridge and Joliet, so that any guest reads the real names.

The layouts are those of ECMA-119 (volumes, directories), of the System Use Sharing Protocol and the
Rock Ridge Interchange Protocol (IEEE P1281 and P1282, first drafts: POSIX names and modes), and of
Joliet (a second tree with names in UCS-2). A general writer takes longer to make a config drive than
most of a boot's other steps together.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

SECTOR = 2048
# What stands in front of the directories: 16 empty sectors, three descriptors, and two path tables for each tree.
PRIMARY, JOLIET, END, TABLES = 16, 17, 18, 19
DIRECTORIES = TABLES + 4
LEVEL_3 = b"%/E"  # Joliet's escape sequence for UCS-2
DIRECTORY = 2  # a flag of directory records
MODES = {True: 0o040555, False: 0o100444}
SHARES = b"SP\x07\x01\xbe\xef\x00"  # says in the root that entries go on behind their names
ROCK_RIDGE = b"ER\x12\x01\x0a\x00\x00\x01RRIP_1991A"
PRESENT = b"RR\x05\x01\x09"  # a mode and a name


@dataclass
class _Node:
    """A file or a directory: where its content lies, and its place in the tree."""

    name: str
    parent: _Node | None = None
    content: bytes | None = None  # None: a directory
    children: list[_Node] = field(default_factory=list)
    sector: int = 0

    @property
    def is_directory(self) -> bool:
        """Whether it is one."""
        return self.content is None

    @property
    def size(self) -> int:
        """In bytes; each directory fits into a sector."""
        return SECTOR if self.content is None else len(self.content)


class _Tree:
    """One of the two trees over the same files: its directories, each below its parent."""

    def __init__(self, root: _Node, joliet: bool, first: int, at: bytes) -> None:
        self.joliet, self.at = joliet, at
        self.directories = [root]
        for one in self.directories:  # grows on the way: level by level, as path tables have it
            self.directories += [child for child in self._sorted(one) if child.is_directory]
        self.sectors = {id(one): first + number for number, one in enumerate(self.directories)}

    def _sorted(self, directory: _Node) -> list[_Node]:
        return sorted(directory.children, key=self.name_of)

    def name_of(self, node: _Node) -> bytes:
        """A name as records have it; the primary tree's own names matter to nobody who knows the extensions."""
        if self.joliet:
            return node.name.encode("utf-16-be")
        assert node.parent is not None
        number = node.parent.children.index(node)
        return f"D{number}".encode() if node.is_directory else f"F{number}.;1".encode()

    def record(self, node: _Node, name: bytes, extensions: bytes = b"") -> bytes:
        """A directory record, of an even length."""
        flags = DIRECTORY if node.is_directory else 0
        head = b"\0" + _both(self.sectors.get(id(node), node.sector)) + _both(node.size)
        head += self.at + bytes([flags, 0, 0]) + _both16(1) + bytes([len(name)]) + name
        head += b"\0" * (len(name) % 2 == 0) + extensions
        head += b"\0" * (len(head) % 2 == 0)
        return bytes([len(head) + 1]) + head

    def directory(self, node: _Node) -> bytes:
        """A directory's content: itself, its parent, and what is in it."""
        root = node.parent is None
        itself = b"" if self.joliet else (SHARES if root else b"") + _posix(node) + (ROCK_RIDGE if root else b"")
        above = b"" if self.joliet else _posix(node)
        records = [self.record(node, b"\0", itself), self.record(node.parent or node, b"\1", above)]
        for child in self._sorted(node):
            records.append(self.record(child, self.name_of(child), b"" if self.joliet else _posix(child, child.name)))
        content = b"".join(records)
        if len(content) > SECTOR:
            raise ValueError(f"too many files in {node.name or '/'}")
        return content

    def path_table(self, order: str) -> bytes:
        """All directories with their places and parents; ``order`` is that of the bytes, "<" or ">"."""
        numbers = {id(one): number for number, one in enumerate(self.directories, start=1)}
        entries = []
        for one in self.directories:
            name = self.name_of(one) if one.parent else b"\0"
            above = numbers[id(one.parent or one)]
            entry = struct.pack(f"{order}BBIH", len(name), 0, self.sectors[id(one)], above) + name
            entries.append(entry + b"\0" * (len(name) % 2))
        return b"".join(entries)

    def descriptor(self, label: str, sectors: int, table: int) -> bytes:
        """The volume descriptor of the tree, whose path tables begin at a sector."""
        size = len(self.path_table("<"))
        root = self.record(self.directories[0], b"\0")
        blank = "".ljust(640).encode("utf-16-be" if self.joliet else "ascii")
        named = label.encode("utf-16-be" if self.joliet else "ascii")
        kind, escape = (2, LEVEL_3) if self.joliet else (1, b"")
        parts = [
            bytes([kind]) + b"CD001\x01\0",
            blank[:32],
            (named + blank)[:32],
            bytes(8) + _both(sectors) + escape.ljust(32, b"\0"),
            _both16(1) + _both16(1) + _both16(SECTOR) + _both(size),
            struct.pack("<II", table, 0) + struct.pack(">II", table + 1, 0),
            root,
            blank[: 4 * 128] + blank[:36] + b" " + blank[:36] + b" " + blank[:36] + b" ",
            (b"0" * 16 + b"\0") * 4,
            b"\x01",
        ]
        return b"".join(parts)


def image(label: str, files: Mapping[str, bytes]) -> bytes:
    """The file system's bytes. ``label``: up to 16 characters; the files' paths have "/" in between.

    Raises ValueError for more files in a folder than a sector can name.
    """
    now = datetime.now(UTC)
    at = bytes([now.year - 1900, now.month, now.day, now.hour, now.minute, now.second, 0])
    root = _Node("")
    found = [_grow(root, path, content) for path, content in sorted(files.items())]
    plain = _Tree(root, False, DIRECTORIES, at)
    joliet = _Tree(root, True, DIRECTORIES + len(plain.directories), at)
    sector = DIRECTORIES + 2 * len(plain.directories)
    for one in found:
        one.sector = sector
        sector += -(-one.size // SECTOR)
    descriptors = [plain.descriptor(label, sector, TABLES), joliet.descriptor(label, sector, TABLES + 2)]
    tables = [tree.path_table(order) for tree in (plain, joliet) for order in ("<", ">")]
    directories = [tree.directory(one) for tree in (plain, joliet) for one in tree.directories]
    contents = [one.content or b"" for one in found]
    return bytes(PRIMARY * SECTOR) + _in_sectors([*descriptors, b"\xffCD001\x01", *tables, *directories, *contents])


def _grow(root: _Node, path: str, content: bytes) -> _Node:
    """Add a file, and the directories above it that are not there yet."""
    *folders, name = path.split("/")
    above = root
    for folder in folders:
        known = next((one for one in above.children if one.name == folder and one.is_directory), None)
        if known is None:
            known = _Node(folder, above)
            above.children.append(known)
        above = known
    node = _Node(name, above, content)
    above.children.append(node)
    return node


def _in_sectors(parts: Iterable[bytes]) -> bytes:
    return b"".join(part.ljust(-(-len(part) // SECTOR) * SECTOR, b"\0") for part in parts)


def _posix(node: _Node, name: str = "") -> bytes:
    """Rock Ridge: the mode, and the real name of what is not "." or ".."."""
    links = 2 + sum(child.is_directory for child in node.children) if node.is_directory else 1
    mode = b"PX\x24\x01" + _both(MODES[node.is_directory]) + _both(links) + _both(0) + _both(0)
    if not name:
        return PRESENT + mode
    text = name.encode()
    return PRESENT + b"NM" + bytes([5 + len(text), 1, 0]) + text + mode


def _both(number: int) -> bytes:
    """32 bits in both orders, as the standard has it."""
    return struct.pack("<I", number) + struct.pack(">I", number)


def _both16(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)
