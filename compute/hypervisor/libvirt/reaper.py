"""Start a daemon and reap what it leaves behind: ``python reaper.py PROGRAM ARGUMENT...``.

libvirt takes a guest to be off when the process of its QEMU is gone, and QEMU runs as an orphan: it is
gone when the first process of the machine has reaped it. systemd does so at once. What containers have
in its place takes a second or never does it, and each stop, suspend and removal of a guest waits for that.
So orphans below this process are its own (prctl(2), PR_SET_CHILD_SUBREAPER), and it waits for them all.

It runs as a program of its own and needs nothing but Python. When it is killed, all is as without it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    """Start the daemon; return what its launcher returned, when it has. Reaping goes on in the background."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        _reap(command, writing)
        os._exit(0)
    os.close(writing)
    answer = os.read(reading, 1)
    return answer[0] if answer else 1


def _reap(command: list[str], answer: int) -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    status = subprocess.run(command, check=False).returncode
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # whoever reads what we say need not wait for our end
        os.dup2(nothing, stream)
    os.write(answer, bytes([status & 0xFF]))
    os.close(answer)
    os.chdir("/")
    while True:
        try:
            os.wait()
        except ChildProcessError:  # the daemon and all that it started have ended
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
