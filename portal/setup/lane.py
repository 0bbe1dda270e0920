"""A lane of workers: django-q2's sentinel, run in the process that was started for it.

Two things differ from ``manage.py qcluster``. The sentinel needs no process above it, which saves
one a lane. And when one of its processes dies by a signal the whole lane starts afresh: a killed
process may have held the lock of the queue between them, after which nobody would ever read it.
What the others were at is taken up again through the leases.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import uuid
from typing import Any

from django.conf import settings

log = logging.getLogger(__name__)


def run_lane(name: str) -> None:
    """Work in a lane until SIGTERM. Raises ValueError for a lane that the settings do not have."""
    from portal.setup.forks import keep_connections
    from portal.setup.parentage import children_end_with_us

    _configure(name)
    keep_connections()
    children_end_with_us()
    from django_q.cluster import Sentinel

    class LaneSentinel(Sentinel):  # type: ignore[misc]  # django-q2 ships no types
        """Stops on SIGTERM, and starts afresh after a sudden death."""

        def start(self) -> None:
            """Take the signals over from the base class, then work."""
            signal.signal(signal.SIGTERM, lambda *_: self.stop_event.set())
            super().start()

        def reincarnate(self, process: Any) -> None:
            """A worker that hung past its time or was recycled is replaced; any other death is sudden."""
            if process in self.pool and process.timer.value in (0, -2):
                super().reincarnate(process)
                return
            log.warning("a process of the lane %s died; the lane starts afresh", name)
            for other in [*self.pool, self.monitor, self.pusher]:
                other.kill()
            os._exit(1)

    LaneSentinel(Flag(), Flag(), uuid.uuid4())


class Flag:
    """An event that a signal handler may set.

    ``multiprocessing.Event`` would deadlock: its ``set`` waits until the sleeper has woken, and the
    sleeper is the very thread that the handler interrupts.
    """

    def __init__(self) -> None:
        self._up = False

    def set(self) -> None:
        """Raise it."""
        self._up = True

    def is_set(self) -> bool:
        """Whether it is up."""
        return self._up

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for it."""
        deadline = time.monotonic() + timeout
        while not self._up and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
        return self._up


def _configure(name: str) -> None:
    """Point django-q2's configuration, which it reads once at import, at this lane."""
    from django_q.conf import Conf

    lanes = {settings.Q_CLUSTER["name"]: settings.Q_CLUSTER, **settings.Q_CLUSTER["ALT_CLUSTERS"]}
    if name not in lanes:
        raise ValueError(f"There is no lane {name}; there are {', '.join(lanes)}.")
    Conf.CLUSTER_NAME = name
    Conf.WORKERS = lanes[name]["workers"]
    Conf.TIMEOUT = lanes[name]["timeout"]
    Conf.RETRY = lanes[name]["retry"]
