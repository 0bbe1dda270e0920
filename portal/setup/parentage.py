"""Children that end with their parent, however the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent is gone, even by SIGKILL."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def children_end_with_us() -> None:
    """The same for every process that this one forks from now on."""
    os.register_at_fork(after_in_child=end_with_parent)
