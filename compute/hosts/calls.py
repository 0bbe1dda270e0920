"""A call to a host that may never return: limited in time, and left behind when its time is over.

A call of libvirt that hangs cannot be interrupted. So each runs in another thread (``compute.hosts.hands``);
whoever waits for it goes on without it after a while, and the fence (``compute.hypervisor.fence``) keeps the thread
from asking the host for anything more.

What a driver calls back (whether to go on, how far it is, the content to send) runs in the waiting
thread, where its database connection is.
"""

from __future__ import annotations

import functools
import io
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

from compute.hosts.hands import Hand
from compute.hypervisor import fence

LOOK_SECONDS = 1.0


class GivenUp(Exception):
    """Raised in the thread of a call that was left behind: it is nobody's any more."""


def nothing() -> None:
    """Nothing stands against it."""


class Call:
    """One call. ``fence``: asked in the call's thread before each request to the host, and may raise.

    ``still``: asked by whoever waits, about once a second, and may raise: the call is then left behind.
    """

    def __init__(
        self, run: functools.partial[Any], fence: Callable[[], None] = nothing, still: Callable[[], None] = nothing
    ) -> None:
        self._fence = fence
        self._still = still
        lent = {name: self._lend(value) for name, value in run.keywords.items()}
        self._run = functools.partial(run.func, *(self._lend(value) for value in run.args), **lent)
        self._said: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._context = copy_context()
        self._thread: threading.Thread | None = None
        self._returned = False
        self._done = False
        self._given_up = False

    def result(self, seconds: float) -> Any:
        """What it returns or raises. Raises TimeoutError; from then on it can do nothing more."""
        self._thread = Hand.do(functools.partial(self._context.run, self._work))
        until = time.monotonic() + seconds
        try:
            while (said := self._next(until)) is not None:
                found = said()
                if self._done:
                    return found
        finally:
            self._given_up = True
        raise TimeoutError

    def is_under_way(self) -> bool:
        """Whether it has not returned yet."""
        return not self._returned

    def _next(self, until: float) -> Callable[[], Any] | None:
        """What the call's thread says next; None: its time (monotonic) is over."""
        while (left := until - time.monotonic()) > 0:
            try:
                return self._said.get(timeout=min(left, LOOK_SECONDS))
            except queue.Empty:
                self._still()
        return None

    def _check(self) -> None:
        """The fence, asked in the call's thread."""
        if self._given_up:
            raise GivenUp("this call is nobody's any more")
        self._fence()

    def _work(self) -> Callable[[], None]:
        """Make the call. Returns how to tell whoever waits what became of it."""
        say: Callable[[], Any]
        try:
            with fence.behind(self._check):
                found = self._run()
            if self._given_up and hasattr(found, "close"):
                found.close()  # a stream that nobody takes any more
            say = functools.partial(_give, found)
        except BaseException as error:
            say = functools.partial(_throw, error)
        self._returned = True
        return functools.partial(self._said.put, functools.partial(self._end, say))

    def _end(self, say: Callable[[], Any]) -> Any:
        self._done = True
        return say()

    # what the driver calls back -----------------------------------------------------------------------
    def _lend(self, value: Any) -> Any:
        if isinstance(value, io.RawIOBase):
            return Lent(self, value)
        if callable(value):
            return lambda *args: self._borrowed(self._ask(functools.partial(value, *args)))
        return value

    def _borrowed(self, value: Any) -> Any:
        if not isinstance(value, Iterator):
            return value
        end = object()
        return iter(lambda: self._ask(functools.partial(next, value, end)), end)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Have something done by the waiting thread; called in the call's thread. Raises what it raises."""
        answer: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()

        def reply() -> None:
            try:
                found = question()
            except BaseException as error:
                answer.put(functools.partial(_throw, error))
            else:
                answer.put(lambda: found)

        self._said.put(reply)
        while True:
            self._check()
            try:
                return answer.get(timeout=LOOK_SECONDS)()
            except queue.Empty:
                continue


class Lent:
    """A file that the driver reads and the waiting thread reads for it."""

    def __init__(self, call: Call, file: io.RawIOBase) -> None:
        self._call, self._file = call, file

    def read(self, size: int = -1) -> Any:
        """See ``io.RawIOBase``."""
        return self._call._ask(functools.partial(self._file.read, size))


def _give(found: Any) -> Any:
    return found


def _throw(error: BaseException) -> Any:
    raise error
