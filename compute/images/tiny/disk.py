"""The guest's disk: a partition to boot from, one to keep files on, and the boot loader."""

import os
import shutil
from pathlib import Path

from compute.images.tiny.initramfs import FIXED_TIME
from compute.images.tiny.packages import run

MEBIBYTE = 1024 * 1024
SECTOR = 512
BOOT_START = 1 * MEBIBYTE
BOOT_SIZE = 23 * MEBIBYTE
DATA_START = BOOT_START + BOOT_SIZE
DATA_SIZE = 24 * MEBIBYTE
DISK_SIZE = DATA_START + DATA_SIZE
FAT_DATE = ((2024 - 1980) << 9 | 1 << 5 | 1).to_bytes(2, "little")
DISK_SIGNATURE = 0x4E414345
DATA_UUID = "4e616365-6c6c-4e00-8000-74696e790001"
BOOT_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
# The second line and those below it leave out what only costs an emulated processor time: moving and
# patching the kernel's code, testing its ciphers, and parts that the guest does not use. The clock is the
# ACPI timer: the processor's is measured at boot, and on a busy host wrongly (a guest's minute in two seconds).
KERNEL_ARGUMENTS = (
    "console=tty0 console=ttyS0,115200 quiet panic=1 tsc=reliable random.trust_cpu=on"
    " clocksource=acpi_pm"
    " nokaslr mitigations=off cryptomgr.notests lsm=yama noreplace-smp noreplace-paravirt"
    " initcall_blacklist=init_kprobe_trace,load_system_certificate_list,init_encrypted,"
    "cubictcp_register,crypto_kdf108_init,slab_sysfs_init"
)
LOADER_CONFIGURATION = f"""DEFAULT tiny
PROMPT 0
TIMEOUT 0
LABEL tiny
  LINUX /vmlinuz
  INITRD /initrd
  APPEND {KERNEL_ARGUMENTS}
"""


def partition_entry(start: int, size: int, kind: int, active: bool) -> bytes:
    """Write one line of a partition table.

    Args:
        start: Where the partition begins, in bytes.
        size: Its length in bytes.
        kind: Its type, such as 0x83 for Linux.
        active: Whether to boot from it.
    """
    no_cylinders = b"\xfe\xff\xff"
    where = (start // SECTOR).to_bytes(4, "little") + (size // SECTOR).to_bytes(4, "little")
    return bytes([0x80 if active else 0]) + no_cylinders + bytes([kind]) + no_cylinders + where


def boot_record(boot_code: bytes) -> bytes:
    """Write the disk's first sector: the boot code and the partition table.

    Args:
        boot_code: The code that starts the active partition's boot sector.
    """
    table = partition_entry(BOOT_START, BOOT_SIZE, 0x0C, active=True)
    table += partition_entry(DATA_START, DATA_SIZE, 0x83, active=False)
    code = boot_code[:440].ljust(440, b"\0")
    return code + DISK_SIGNATURE.to_bytes(4, "little") + b"\0\0" + table.ljust(64, b"\0") + b"\x55\xaa"


def make_boot_partition(target: Path, kernel: Path, initramfs: Path) -> None:
    """Make the FAT file system that the boot loader reads, with the loader in it.

    Args:
        target: The file to make.
        kernel: The kernel.
        initramfs: The archive that becomes the guest's file system.

    Raises:
        BuildError: One of the tools failed.
    """
    configuration = target.with_name("syslinux.cfg")
    configuration.write_text(LOADER_CONFIGURATION)
    _make_empty(target, BOOT_SIZE)
    run(["mkfs.vfat", "-F", "16", "-s", "4", "-i", "4e616365", target])
    for source, name in ((configuration, "syslinux.cfg"), (kernel, "vmlinuz"), (initramfs, "initrd")):
        os.utime(source, (FIXED_TIME, FIXED_TIME))
        run(["mcopy", "-m", "-i", target, source, f"::{name}"])
    run(["syslinux", "--install", target])
    fix_loader_times(target)


def fix_loader_times(target: Path) -> None:
    """Give the boot loader's own files the fixed date, so that equal builds make equal images.

    Args:
        target: The boot partition, with the boot loader in it.
    """
    content = bytearray(target.read_bytes())
    for name in (b"LDLINUX SYS", b"LDLINUX C32"):
        entry = content.index(name)
        # A FAT folder's entry: made (time, date), last read (date), ..., changed (time, date).
        content[entry + 13 : entry + 20] = b"\0\0\0" + FAT_DATE + FAT_DATE
        content[entry + 22 : entry + 26] = b"\0\0" + FAT_DATE
    target.write_bytes(content)


def make_data_partition(target: Path) -> None:
    """Make the ext4 file system on which the guest keeps its files.

    Args:
        target: The file to make.

    Raises:
        BuildError: mke2fs failed.
    """
    content = target.with_name("data")
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    _make_empty(target, DATA_SIZE)
    identity = ["-L", "nacelle-data", "-U", DATA_UUID, "-E", f"hash_seed={DATA_UUID},root_owner=0:0"]
    features = ["-O", "^64bit,^metadata_csum,^resize_inode", "-J", "size=1", "-b", "1024", "-m", "0"]
    run(["mke2fs", "-q", "-F", "-t", "ext4", *features, *identity, "-d", content, target])


def assemble_disk(target: Path, boot: Path, data: Path, output: Path) -> None:
    """Put the partitions behind a partition table and write the result as a compressed qcow2.

    Args:
        target: The raw disk to make on the way.
        boot: The boot partition.
        data: The data partition.
        output: The image to make; it appears only when it is complete.

    Raises:
        BuildError: qemu-img failed.
    """
    _make_empty(target, DISK_SIZE)
    with target.open("r+b") as disk:
        disk.write(boot_record(BOOT_CODE.read_bytes()))
        for start, partition in ((BOOT_START, boot), (DATA_START, data)):
            disk.seek(start)
            disk.write(partition.read_bytes())
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(output.name + ".part")
    run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", target, unfinished])
    unfinished.replace(output)


def _make_empty(path: Path, size: int) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as empty:
        empty.truncate(size)
