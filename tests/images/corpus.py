"""Image files, good and hostile, made on the spot: the good ones by the real qemu-img."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

SECTOR = 512
GPT_DISK = b"\0" * 510 + b"\x55\xaa" + b"EFI PART" + b"\0" * 4096


def qemu_img(path: Path, image_format: str, size: str = "4M", *options: str) -> Path:
    """A new image file."""
    argv = ["qemu-img", "create", "-q", "-f", image_format, *options, str(path), size]
    subprocess.run(argv, check=True, capture_output=True)
    return path


def qemu_io(path: Path, image_format: str, *commands: str) -> None:
    """Write into an image file as a guest would."""
    asked = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", image_format, *asked, str(path)], check=True, capture_output=True)


def qcow2(path: Path, size: str = "4M", *options: str) -> bytes:
    """A good qcow2 file's bytes."""
    return qemu_img(path, "qcow2", size, *options).read_bytes()


def with_backing(path: Path, backing: str = "/etc/passwd") -> bytes:
    """A qcow2 whose backing file is a file of the host."""
    return qcow2(path, "4M", "-u", "-F", "raw", "-b", backing)


def with_data_file(path: Path, data_file: str = "/etc/shadow") -> bytes:
    """A qcow2 whose data lies in a file of the host: the name is patched over a harmless one of its length."""
    harmless = "x" * len(data_file)
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={harmless}", str(path), "4M"],
        check=True, capture_output=True, cwd=path.parent,
    )  # fmt: skip
    return path.read_bytes().replace(harmless.encode(), data_file.encode())


def patched(content: bytes, offset: int, form: str, value: int) -> bytes:
    """The bytes with one big-endian number changed."""
    changed = bytearray(content)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)


def iso(prefix: bytes = b"") -> bytes:
    """The start of an ISO 9660 file system, with something in its system area."""
    return prefix.ljust(16 * 2048, b"\0") + b"\x01CD001\x01".ljust(2048, b"\0") + b"\xffCD001\x01".ljust(2048, b"\0")


def vmdk_descriptor(extent: str = 'RW 8192 FLAT "/etc/passwd" 0') -> bytes:
    """A VMDK that is only text and points at a file of the host."""
    lines = ("# Disk DescriptorFile", "version=1", "parentCID=ffffffff", 'createType="monolithicFlat"', extent, "")
    return "\n".join(lines).encode()


def sparse_vmdk(descriptor: str) -> bytes:
    """A VMDK sparse header whose embedded descriptor says something of the author's own."""
    header = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, 8192, 128, 1, 20).ljust(SECTOR, b"\0")
    return header + descriptor.encode().ljust(20 * SECTOR, b"\0")
