"""Debian packages, downloaded and unpacked into a folder without being installed."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from compute.images.tiny.errors import BuildError
from compute.images.tiny.initramfs import FIXED_TIME

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"
PROGRAM_PACKAGES = ("busybox-static", "dropbear-bin")
# Needed by a dependency's dependency only in name: nothing in the guest loads files from them.
UNWANTED_PACKAGES = frozenset({"gcc-12-base", "libgcc-s1"})
# English for what is read from the output; one time for whatever a tool stamps with the time.
FIXED_SURROUNDINGS = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": str(FIXED_TIME),
    "E2FSPROGS_FAKE_TIME": str(FIXED_TIME),
}


def search_path() -> str:
    """Return where programs are looked for; other users than root often lack the sbin folders."""
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def run(command: Sequence[str | Path], folder: Path | None = None) -> str:
    """Run a program to its end, in English and in UTC.

    Args:
        command: The program and its arguments.
        folder: The folder to run it in; the present one when left out.

    Returns:
        What it wrote to its standard output.

    Raises:
        BuildError: It is missing, or it failed; the message carries what it said.
    """
    words = [str(word) for word in command]
    environment = os.environ | FIXED_SURROUNDINGS | {"PATH": search_path()}
    try:
        done = subprocess.run(  # noqa: S603 - our own list of programs, and no shell
            words, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
    except FileNotFoundError as error:
        raise BuildError(f"The program {words[0]} is missing.") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip()
        raise BuildError(f"'{' '.join(words)}' failed: {said}") from error
    return done.stdout


def kernel_package() -> str:
    """Name the package that holds the newest cloud kernel, such as linux-image-6.1.0-1-cloud-amd64.

    Raises:
        BuildError: apt does not know the kernel (its lists may never have been fetched).
    """
    listing = run(["apt-cache", "depends", KERNEL_META_PACKAGE])
    found = re.search(r"Depends: (linux-image-\d\S+)", listing)
    if found is None:
        raise BuildError(f"apt knows no kernel behind {KERNEL_META_PACKAGE}; run 'apt-get update' first.")
    return found.group(1)


def program_packages() -> list[str]:
    """List the guest's programs and every library package that they depend on.

    Raises:
        BuildError: apt does not know one of them.
    """
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    refusals = [f"--no-{kind}" for kind in kinds]
    listing = run(["apt-cache", "depends", "--recurse", *refusals, *PROGRAM_PACKAGES])
    names = {line for line in listing.splitlines() if re.match(r"[a-z0-9]", line)}
    return sorted(names - UNWANTED_PACKAGES)


def download(names: Sequence[str], folder: Path) -> list[Path]:
    """Fetch packages with apt; those that the folder already holds are not fetched again.

    Args:
        names: The packages' names.
        folder: Where the package files are kept; it is made when missing.

    Returns:
        The package files, in the order of the names.

    Raises:
        BuildError: A package could not be fetched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not list(folder.glob(f"{name}_*.deb"))]
    if missing:
        # As root, apt would drop to a user who may not write into this folder.
        sandbox = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
        run(["apt-get", *sandbox, "download", *missing], folder)
    return [sorted(folder.glob(f"{name}_*.deb"))[-1] for name in names]


def unpack(package_files: Sequence[Path], root: Path) -> None:
    """Unpack packages into a folder; one that was unpacked there before is left alone.

    Args:
        package_files: The package files.
        root: The folder that becomes the packages' root folder.

    Raises:
        BuildError: A file is no sound package; it should be deleted, so that it is fetched again.
    """
    root.mkdir(parents=True, exist_ok=True)
    for package_file in package_files:
        marker = root / ".unpacked" / package_file.name
        if marker.exists():
            continue
        run(["dpkg", "-x", package_file, root])
        marker.parent.mkdir(exist_ok=True)
        marker.touch()
