"""The supervisor of `manage.py run`: forks every process of Nacelle, and keeps them running.

The children are forked from one process that has everything imported, so they share its memory: the
whole of Nacelle idles in little more than two Python programs would take. Each is in a session of
its own, so that Ctrl-C reaches the supervisor alone, and each ends when the supervisor is gone.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from portal.setup.parentage import end_with_parent

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0
QUICK_DEATH_SECONDS = 5.0
MAX_PAUSE_SECONDS = 30.0


@dataclass
class Child:
    """One process: what it runs, and how it has fared."""

    name: str
    run: Callable[[], None]
    pid: int = 0
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0


class Supervisor:
    """Runs the children until told to stop."""

    def __init__(self, programs: dict[str, Callable[[], None]]) -> None:
        self.children = [Child(name, run) for name, run in programs.items()]
        self.stopping = False

    def run(self, ready: Callable[[], None]) -> None:
        """Start all, call ``ready`` once in a child of its own, and mind them until SIGTERM or Ctrl-C."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        gc.collect()
        gc.freeze()  # what is imported now stays shared between the children
        for child in self.children:
            self._start(child)
        announcer = Child("ready", ready)
        self._start(announcer)
        while not self.stopping:
            self._mind(announcer)
            time.sleep(0.2)
        self._end([*self.children, announcer])

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _start(self, child: Child) -> None:
        child.started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        child.pid = os.fork()
        if child.pid == 0:
            _become(child)

    def _mind(self, announcer: Child) -> None:
        """Notice the dead, and start them again after a pause that grows while they die quickly."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._bury(pid, status, announcer)
        now = time.monotonic()
        for child in self.children:
            if child.pid == 0 and now >= child.due:
                self._start(child)

    def _bury(self, pid: int, status: int, announcer: Child) -> None:
        if pid == announcer.pid:
            announcer.pid = 0
            return
        child = next((one for one in self.children if one.pid == pid), None)
        if child is None:
            return
        lived = time.monotonic() - child.started
        child.pid = 0
        child.pause = min(MAX_PAUSE_SECONDS, max(1.0, child.pause * 2)) if lived < QUICK_DEATH_SECONDS else 0.0
        child.due = time.monotonic() + child.pause
        code = os.waitstatus_to_exitcode(status)
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        log.warning("%s ended %s; starting it again in %.0f s", child.name, how, child.pause)

    def _end(self, children: list[Child]) -> None:
        """Ask every child to end, and insist after a while."""
        alive = [child for child in children if child.pid]
        for child in alive:
            _send(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while alive and time.monotonic() < deadline:
            alive = [child for child in alive if not _reaped(child.pid)]
            time.sleep(0.05)
        for child in alive:
            log.warning("%s does not end; killing it", child.name)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            _reaped(child.pid, wait=True)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _reaped(pid: int, wait: bool = False) -> bool:
    try:
        return os.waitpid(pid, 0 if wait else os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _become(child: Child) -> None:
    """In the child: a session and a name of its own, default signals, then the program. Never returns."""
    status = 1
    try:
        os.setsid()
        end_with_parent()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        from setproctitle import setproctitle

        setproctitle(f"nacelle {child.name}")
        child.run()
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
        if isinstance(ending.code, str):
            log.error("%s: %s", child.name, ending.code)
    except BaseException:
        log.exception("%s failed", child.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
