"""A worker's calls to a host: fenced by its lease, and limited in time.

A call of libvirt that hangs cannot be interrupted. So each call runs in a thread that can be left
behind: when its time is over the worker goes on without it, as after any failure of that call, and
the fence (``compute.hypervisor.fence``) keeps the thread from asking the host for anything more.
What the host was already asked for may still happen; the watcher puts that right.

What a driver calls back (whether to go on, how far it is, the content to send) runs in the worker's
own thread, where its database connection is.
"""

from __future__ import annotations

import functools
import io
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import timedelta
from typing import Any, cast

from django.conf import settings

from compute.hosts.connections import forget, hypervisor_of
from compute.hypervisor import fence
from compute.hypervisor.interface import Failed, Hypervisor
from compute.models import Host
from compute.operations.leases import Lease, Lost

# Verbs whose work does not grow with what they work on. All others may take what the operation has left.
QUICK = frozenset(
    {
        "facts",
        "guests",
        "guest",
        "volumes",
        "has_base",
        "stored_bytes",
        "ensure_network",
        "reserve",
        "release",
        "create_overlay",
        "create_volume",
        "define",
        "start",
        "destroy",
        "remove",
        "pause",
        "unpause",
        "inject_nmi",
        "set_password",
        "attach_nic",
        "detach_nic",
        "resize_volume",
    }
)
# A host that has just not answered is asked again by the undo, but not for long.
AFTER_SILENCE_SECONDS = 15.0
LOOK_SECONDS = 1.0


class DidNotAnswer(Failed):
    """A call did not return in its time. It fails as any call may; what it was to do may still happen."""


class Calls:
    """One operation's way to its hosts."""

    def __init__(self, lease: Lease, limit: timedelta) -> None:
        self._lease = lease
        self._until = time.monotonic() + limit.total_seconds()
        self._silent: set[int] = set()

    def to(self, host: Host) -> Hypervisor:
        """The host's driver, behind the fence."""
        return cast(Hypervisor, Fenced(self, host))

    def make(self, host: Host, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a verb. Raises Lost, when another may be at the guest by now; DidNotAnswer; what the verb raises."""
        call = Call(self._lease, functools.partial(getattr(hypervisor_of(host), verb), *args, **kwargs))
        return self._limited(host, verb, call)

    def _limited(self, host: Host, verb: str, call: Call) -> Any:
        seconds = self._seconds(host, verb)
        self._lease.check()
        try:
            found = call.result(seconds)
        except TimeoutError:
            self._silent.add(host.pk)
            forget(host)  # its connection may be what hangs; another call gets a new one
            raise DidNotAnswer(f"{host.name} did not answer within {seconds:g} s ({verb}).") from None
        return self._each(host, verb, found) if isinstance(found, Iterator) else found

    def _each(self, host: Host, verb: str, found: Iterator[Any]) -> Iterator[Any]:
        """The content of a volume comes in pieces; each is a call."""
        end = object()
        while (one := self._limited(host, verb, Call(self._lease, functools.partial(next, found, end)))) is not end:
            yield one

    def _seconds(self, host: Host, verb: str) -> float:
        short: float = settings.HOST_CALL_SECONDS
        if host.pk in self._silent:
            return min(short, AFTER_SILENCE_SECONDS)
        return short if verb in QUICK else max(short, round(self._until - time.monotonic()))


class Fenced:
    """A driver whose every verb goes through ``Calls``."""

    def __init__(self, calls: Calls, host: Host) -> None:
        self._calls, self._host = calls, host

    def __getattr__(self, verb: str) -> Any:
        return functools.partial(self._calls.make, self._host, verb)


class Call:
    """One call, in a thread of its own that may be left behind."""

    def __init__(self, lease: Lease, run: functools.partial[Any]) -> None:
        self._lease = lease
        lent = {name: self._lend(value) for name, value in run.keywords.items()}
        self._run = functools.partial(run.func, *(self._lend(value) for value in run.args), **lent)
        self._said: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=copy_context().run, args=(self._work,), name="host-call", daemon=True)
        self._done = False
        self._given_up = False

    def result(self, seconds: float) -> Any:
        """What it returns or raises. Raises TimeoutError; from then on it can do nothing more."""
        self._thread.start()
        until = time.monotonic() + seconds
        while (said := self._next(until)) is not None:
            found = said()
            if self._done:
                return found
        self._given_up = True
        raise TimeoutError

    def _next(self, until: float) -> Callable[[], Any] | None:
        """What the call's thread says next; None: its time (monotonic) is over."""
        try:
            return self._said.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None

    def _check(self) -> None:
        """The fence, asked in the call's thread."""
        if self._given_up or self._lease.lapsed():
            raise Lost("this call is nobody's any more")

    def _work(self) -> None:
        try:
            with fence.behind(self._check):
                found = self._run()
        except BaseException as error:
            self._end(functools.partial(_throw, error))
        else:
            self._end(lambda: found)

    def _end(self, say: Callable[[], Any]) -> None:
        def last() -> Any:
            self._done = True
            return say()

        self._said.put(last)

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
        """Have something done by the worker's thread; called in the call's thread. Raises what it raises."""
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
    """A file that the driver reads and the worker's thread reads for it."""

    def __init__(self, call: Call, file: io.RawIOBase) -> None:
        self._call, self._file = call, file

    def read(self, size: int = -1) -> Any:
        """See ``io.RawIOBase``."""
        return self._call._ask(functools.partial(self._file.read, size))


def _throw(error: BaseException) -> Any:
    raise error
