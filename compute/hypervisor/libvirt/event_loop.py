"""libvirt's event loop: one daemon thread in each process that opens a connection.

libvirt needs it for keepalive and for events. It must be registered before the first connection is
opened, and it does not survive a fork: the child has the list of the parent's sockets but not the
thread. A child therefore never runs the loop that it inherited (it would read from its parent's
sockets); its connections work, but without keepalive and events. Processes that watch hosts open
their first connection after they were forked.
"""

from __future__ import annotations

import os
import threading

import libvirt


class _Loop:
    """What this process knows of its loop."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: int | None = None  # where it was registered

    def after_fork(self) -> None:
        """The lock may have been held by a thread that does not exist here."""
        self.lock = threading.Lock()


_loop = _Loop()
os.register_at_fork(after_in_child=_loop.after_fork)


def ensure() -> bool:
    """Start the loop of this process if none runs. Returns whether it runs here."""
    with _loop.lock:
        if _loop.process is None:
            libvirt.registerErrorHandler(_silence, None)
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_run, name="libvirt-events", daemon=True).start()
            _loop.process = os.getpid()
        return _loop.process == os.getpid()


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _silence(context: object, error: object) -> None:
    """libvirt prints every error to stderr unless somebody else takes it; ours are raised."""
