"""Children that end with their parent, however the parent ends."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when its parent is gone, even by SIGKILL."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def children_end_with_us() -> None:
    """Have every process that this one forks from now on killed when this one is gone.

    Killed, because django-q2's workers ignore SIGTERM; what they are at is taken up again.
    """
    os.register_at_fork(after_in_child=lambda: end_with_parent(signal.SIGKILL))
