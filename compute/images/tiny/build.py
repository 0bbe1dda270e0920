"""Build the tiny guest image: `python -m compute.images.tiny.build --output FILE.qcow2`.

The guest boots in a few seconds even without hardware virtualisation. Nothing is installed and
nothing needs root: Debian's packages are downloaded and unpacked into a work folder, which is kept
so that the next build is quick.

In the guest: user `root`, password `nacelle` on the serial port and on the screen, ssh by key only.
Files written below /mnt/disk outlive a reboot; they are on the second partition of its disk.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

from compute.images.tiny import disk, packages
from compute.images.tiny.errors import BuildError
from compute.images.tiny.initramfs import Archive
from compute.images.tiny.modules import MODULE_LISTS, ModuleTree, without_signature

REQUIRED_PACKAGES = (
    "apt",
    "dosfstools",
    "dpkg",
    "e2fsprogs",
    "mtools",
    "qemu-utils",
    "syslinux",
    "syslinux-common",
    "zstd",
)
REQUIRED_PROGRAMS = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg": "dpkg",
    "mkfs.vfat": "dosfstools",
    "mke2fs": "e2fsprogs",
    "mcopy": "mtools",
    "qemu-img": "qemu-utils",
    "syslinux": "syslinux",
    "zstd": "zstd",
}
GUEST_FILES = Path(__file__).parent / "guest"
EMPTY_FOLDERS = ("dev", "mnt/config", "mnt/disk", "proc", "root/.ssh", "run", "sys", "tmp", "var/log")


def check_tools() -> None:
    """Make sure that every program and file which the build uses is there.

    Raises:
        BuildError: Some are missing; the message names the Debian packages to install.
    """
    missing = {
        package
        for program, package in REQUIRED_PROGRAMS.items()
        if shutil.which(program, path=packages.search_path()) is None
    }
    if not disk.BOOT_CODE.exists():
        missing.add("syslinux-common")
    if missing:
        names = " ".join(sorted(missing))
        raise BuildError(f"The image cannot be built: install the Debian packages {names} first.")


def add_guest_files(archive: Archive) -> None:
    """Add the files that lie in the folder `guest`; those that begin with `#!` may be run.

    Args:
        archive: The guest's file system.
    """
    for path in sorted(GUEST_FILES.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            name = str(path.relative_to(GUEST_FILES))
            archive.add_file(name, content, executable=content.startswith(b"#!"))


def add_busybox(archive: Archive, root: Path) -> None:
    """Add busybox and a link for each of its programs that the guest has no other file for.

    Args:
        archive: The guest's file system, with the guest's own files already in it.
        root: Where the packages are unpacked.

    Raises:
        BuildError: busybox does not run on this machine.
    """
    program = root / "bin/busybox"
    archive.add_file("bin/busybox", program.read_bytes(), executable=True)
    for name in packages.run([program, "--list-full"]).split():
        if name not in archive.names:
            archive.add_link(name, "/bin/busybox")


def add_dropbear(archive: Archive, root: Path) -> None:
    """Add the ssh server and the libraries that it loads.

    Args:
        archive: The guest's file system.
        root: Where the packages are unpacked.

    Raises:
        BuildError: A library is missing among the packages.
    """
    loader = root / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    folders = ":".join(str(root / folder / "x86_64-linux-gnu") for folder in ("lib", "usr/lib"))
    server = root / "usr/sbin/dropbear"
    listing = packages.run([loader, "--library-path", folders, "--list", server])
    libraries = set(re.findall(rf"({re.escape(str(root))}/\S+)", listing))
    archive.add_file("usr/sbin/dropbear", server.read_bytes(), executable=True)
    for library in sorted(map(Path, libraries - {str(loader)})):
        archive.add_file(f"lib/{library.name}", library.read_bytes(), executable=True)
    archive.add_file("lib64/ld-linux-x86-64.so.2", loader.read_bytes(), executable=True)


def add_modules(archive: Archive, root: Path) -> None:
    """Add the kernel modules, and for each moment of the boot the list of those to load then.

    Args:
        archive: The guest's file system.
        root: Where the packages are unpacked.

    Raises:
        BuildError: The kernel lacks a module.
    """
    tree = ModuleTree(next((root / "lib/modules").iterdir()))
    loaded: list[str] = []
    for moment, wanted in MODULE_LISTS.items():
        names = [name for name in tree.in_load_order(wanted) if name not in loaded]
        loaded += names
        archive.add_file(f"lib/modules/{moment}.list", "".join(f"{name}\n" for name in names).encode())
    for name in loaded:
        content = without_signature(tree.files[name].read_bytes())
        archive.add_file(f"lib/modules/{name}.ko", content)


def make_initramfs(root: Path) -> bytes:
    """Put the guest's whole file system together.

    Args:
        root: Where the packages are unpacked.

    Raises:
        BuildError: Something that belongs into the guest is missing.
    """
    archive = Archive()
    archive.add_console_device()
    for folder in EMPTY_FOLDERS:
        archive.add_folder(folder)
    add_guest_files(archive)
    add_busybox(archive, root)
    add_dropbear(archive, root)
    add_modules(archive, root)
    return archive.to_bytes()


def build(output: Path, work: Path) -> None:
    """Build the image.

    Args:
        output: The qcow2 file to make; it appears only when it is complete.
        work: A folder for downloads and unfinished pieces, kept for the next build.

    Raises:
        BuildError: A tool is missing, or a step failed.
    """
    check_tools()
    say("Fetching Debian's kernel, busybox and dropbear")
    kernel_files = packages.download([packages.kernel_package()], work / "downloads")
    program_files = packages.download(packages.program_packages(), work / "downloads")
    say("Unpacking " + ", ".join(path.name.split("_")[0] for path in [*kernel_files, *program_files]))
    root = work / "roots" / kernel_files[0].stem
    packages.unpack([*kernel_files, *program_files], root)
    say("Putting the guest's files together")
    archive = work / "guest.cpio"
    archive.write_bytes(make_initramfs(root))
    initramfs = work / "initrd"
    packages.run(["zstd", "-q", "-f", "-19", "--no-check", archive, "-o", initramfs])
    say("Making the disk")
    disk.make_boot_partition(work / "boot.img", next((root / "boot").glob("vmlinuz-*")), initramfs)
    disk.make_data_partition(work / "data.img")
    say("Compressing it")
    disk.assemble_disk(work / "disk.img", work / "boot.img", work / "data.img", output)
    say(f"{output} is ready: {output.stat().st_size / disk.MEBIBYTE:.1f} MB")


def say(text: str) -> None:
    """Print a line at once, so that whoever waits sees how far the build is."""
    print(f"tiny guest: {text}", flush=True)


def main() -> int:
    """Run the build from the command line and return the process's exit status."""
    parser = argparse.ArgumentParser(description="Build the tiny guest image.")
    parser.add_argument("--output", type=Path, required=True, help="the qcow2 file to make")
    parser.add_argument("--work", type=Path, help="folder for downloads (default: beside the output)")
    options = parser.parse_args()
    work = options.work or options.output.resolve().parent / "tiny-guest-build"
    try:
        build(options.output.resolve(), work.resolve())
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
