"""Orphans of a daemon are reaped at once, whatever the machine's first process does."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from compute.hypervisor.libvirt.daemons import parent_of
from tests.hypervisor.test_libvirt import wait_until

REAPER = parent_of("libvirtd")

# A daemon that outlives its launcher, and starts an orphan of a few moments.
DAEMON = """
(
  (sleep 2 & echo $! > orphan.new; mv orphan.new orphan)
  sleep 3
) >/dev/null 2>&1 &
echo started >&2
"""


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*REAPER, "sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def parent(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


def test_an_orphan_is_reaped_at_once(tmp_path: Path) -> None:
    before = time.monotonic()
    result = run(DAEMON, tmp_path)
    assert (result.returncode, result.stderr) == (0, "started\n")
    assert time.monotonic() - before < 1.5, "the launcher's end is told, the daemon's is not waited for"
    assert wait_until((tmp_path / "orphan").exists, 5)
    orphan = int((tmp_path / "orphan").read_text())
    assert wait_until(lambda: b"reaper.py" in Path(f"/proc/{parent(orphan)}/cmdline").read_bytes(), 1)
    reaper = parent(orphan)
    assert wait_until(lambda: not Path(f"/proc/{orphan}").exists(), 5)
    assert os.getsid(reaper) == reaper, "an interrupt at the terminal is not for it"
    assert wait_until(lambda: is_over(reaper), 10), "with the last of them it ends"


def is_over(pid: int) -> bool:
    """It has ended, though perhaps nobody has reaped it: that is for the machine's first process."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_a_daemon_that_refuses_is_heard(tmp_path: Path) -> None:
    result = run("echo no such port >&2; exit 3", tmp_path)
    assert (result.returncode, result.stderr) == (3, "no such port\n")


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    result = subprocess.run([*REAPER, str(tmp_path / "nothing")], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "nothing" in result.stderr


def test_only_libvirtd_needs_it() -> None:
    assert parent_of("virtlogd") == []
