"""Run the system's programs, and say in words what is missing or went wrong."""

from __future__ import annotations

import os
import shutil
import subprocess

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
PROGRAMS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "hostname": "hostname",
    "libvirtd": "libvirt-daemon-system",
    "virtlogd": "libvirt-daemon-system",
    "qemu-system-x86_64": "qemu-system-x86",
    "dnsmasq": "dnsmasq-base",
}


class LabError(Exception):
    """What the laboratory cannot do, in a sentence for whoever runs it."""


def check_machine() -> None:
    """Raises LabError with what this machine lacks for a laboratory."""
    if os.geteuid() != 0:
        raise LabError("Only root can make hosts out of namespaces: run it as root, or with sudo.")
    missing = sorted({package for name, package in PROGRAMS.items() if shutil.which(name, path=PATH) is None})
    if missing:
        raise LabError(f"The laboratory needs what is not installed. On Debian: apt install {' '.join(missing)}")


def run(*command: str) -> str:
    """Run a program to its end and return what it wrote. Raises LabError with what it complained of."""
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH}, stdin=subprocess.DEVNULL
    )
    if ended.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: {ended.stderr.strip() or ended.stdout.strip()}")
    return ended.stdout


def link_exists(name: str) -> bool:
    """Whether this machine has a network link of this name."""
    return os.path.isdir(f"/sys/class/net/{name}")
