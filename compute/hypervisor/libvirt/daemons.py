"""Start libvirt's daemons where nothing else does: containers, small machines, a laboratory.

With systemd, nothing here has work to do: the sockets answer, or systemd starts what is behind them.
"""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

from compute.hypervisor.interface import Failed

SOCKETS = Path("/run/libvirt")
LOG_DAEMON_SOCKETS = ("virtlogd-sock",)
HYPERVISOR_SOCKETS = ("libvirt-sock", "virtqemud-sock")  # one daemon for all, or one of many
START_SECONDS = 20.0
STOP_SECONDS = 10.0
KVM = Path("/dev/kvm")
REAPER = Path(__file__).with_name("reaper.py")


def ensure_running(folder: Path) -> list[int]:
    """libvirtd and virtlogd answer on this machine. Returns the process ids of those started here.

    Pid files and logs go to ``folder``. Raises Failed, with what to do, without root's rights or
    when libvirt is not installed.
    """
    started = []
    for program, sockets in (("virtlogd", LOG_DAEMON_SOCKETS), ("libvirtd", HYPERVISOR_SOCKETS)):
        if not _is_there(program, sockets):
            if program == "libvirtd":
                give_kvm_its_group()
            started.append(_start(program, sockets, folder))
    return started


def end(processes: list[int]) -> None:
    """End daemons that ``ensure_running`` started, last first. Guests go on without them."""
    for process in reversed(processes):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


def give_kvm_its_group() -> None:
    """Do udev's work for /dev/kvm where no udev runs: group kvm, mode 0660.

    With root's sole /dev/kvm, libvirt sees KVM when it asks QEMU what it can do but not when it
    checks whether what it knows is still true, so it asks again and again: half a minute and more
    for each definition of a guest.
    """
    with contextlib.suppress(OSError, KeyError):
        status = KVM.stat()
        if stat.S_IMODE(status.st_mode) & 0o066 == 0 and status.st_gid == 0:
            os.chown(KVM, -1, grp.getgrnam("kvm").gr_gid)
            os.chmod(KVM, 0o660)


def _is_there(program: str, sockets: tuple[str, ...]) -> bool:
    """Whether it answers. Only root may ask virtlogd, so that one need only be there for others."""
    try:
        return _answers(sockets)
    except PermissionError as error:
        if program == "virtlogd":
            return True
        raise Failed("libvirt runs, but this user may not use it. As root, add it to the group libvirt.") from error


def _answers(names: tuple[str, ...]) -> bool:
    return any(_connects(SOCKETS / name) for name in names)


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionError):
            return False
    return True


def _start(program: str, sockets: tuple[str, ...], folder: Path) -> int:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise Failed(f"{program} is not installed. On Debian: apt install libvirt-daemon-system qemu-system-x86")
    if os.geteuid() != 0:
        raise Failed(f"{program} does not run, and only root can start it: sudo systemctl start libvirtd virtlogd")
    folder.mkdir(parents=True, exist_ok=True)
    pid_file, log = folder / f"{program}.pid", folder / f"{program}.log"
    outputs = {"LIBVIRT_LOG_OUTPUTS": f"3:file:{log}"}
    command = [*parent_of(program), path, "--daemon", "--pid-file", str(pid_file)]
    result = subprocess.run(command, env={**os.environ, **outputs}, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Failed(f"{program} did not start: {result.stderr.strip() or f'see {log}'}")
    _wait_for(program, sockets, log)
    return int(pid_file.read_text())


def parent_of(program: str) -> list[str]:
    """What starts the program: libvirtd has a reaper above it, as each guest's end waits for one."""
    return [sys.executable, "-I", str(REAPER)] if program == "libvirtd" else []


def _wait_for(program: str, sockets: tuple[str, ...], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(sockets):
        if time.monotonic() > deadline:
            raise Failed(f"{program} was started but does not answer. See {log}")
        time.sleep(0.05)


def stop(folder: Path) -> list[str]:
    """End those daemons that ``ensure_running`` started with this folder. Returns what to tell the user.

    virtlogd stays while guests run: it holds the other end of their console logs.
    """
    said = []
    for program in ("libvirtd", "virtlogd"):
        if (pid := _our_pid(program, folder)) is None:
            continue
        guests = _running_guests() if program == "virtlogd" else 0
        if guests:
            said.append(f"virtlogd (process {pid}) stays: it keeps the console logs of {guests} running guests.")
            continue
        os.kill(pid, signal.SIGTERM)
        _wait_for_end(pid)
        said.append(f"Stopped {program}.")
    return said


def _our_pid(program: str, folder: Path) -> int | None:
    """The process id in the pid file, if that process still is the program."""
    try:
        pid = int((folder / f"{program}.pid").read_text())
        return pid if Path(f"/proc/{pid}/comm").read_text().strip() == program else None
    except (OSError, ValueError):
        return None


def _running_guests() -> int:
    """How many QEMU processes libvirt has pid files for."""
    pids = (path.read_text().strip() for path in (SOCKETS / "qemu").glob("*.pid"))
    return sum(Path(f"/proc/{pid}").exists() for pid in pids)


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
        time.sleep(0.05)
