"""A worker's calls to a host: fenced by its lease, limited in time, and not made to a host that does not answer.

A call that does not return is left behind (``compute.hosts.calls``), and the worker goes on as after any
failure of that call. What the host was already asked for may still happen; the watcher puts that right.

There are few workers, and one host that hangs must not hold them up for all others. So the worker goes by
what the watcher says of the host, before each call and while it waits: when the host is silent or down, the
operation waits in its row.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any, cast

from django.conf import settings
from django.db import DatabaseError

from compute.hosts.calls import Call
from compute.hosts.connections import forget, hypervisor_of
from compute.hosts.liveness import answering, check_answers
from compute.hypervisor.interface import Failed, Hypervisor, HypervisorError, Unreachable
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
        "volume_file",
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
        "passenger",
        "objections",
        "whereabouts",
        "end_migration",
        "stay",
    }
)
# A host that has just not answered is asked again by the undo, but not for long.
AFTER_SILENCE_SECONDS = 15.0
# What takes long anyhow is not broken off by a short silence: the host may be busy with it.
PATIENCE = 3
# What the watcher says of a host is believed for so long.
BELIEVED_SECONDS = 1.0


class DidNotAnswer(Failed):
    """A call did not return in its time. It fails as any call may; what it was to do may still happen."""


class Calls:
    """One operation's way to its hosts."""

    def __init__(self, lease: Lease, limit: timedelta) -> None:
        self._lease = lease
        self._until = time.monotonic() + limit.total_seconds()
        self._silent: set[int] = set()
        self._heard: dict[int, float] = {}

    def to(self, host: Host) -> Hypervisor:
        """The host's driver, behind the fence."""
        return cast(Hypervisor, Fenced(self, host))

    @staticmethod
    def ask_ahead(ways: Iterable[tuple[Calls, Host]]) -> None:
        """What the watcher says of the hosts of several operations, asked at once. The others ask for themselves."""
        ways, asked_at = list(ways), time.monotonic()
        heard = answering(host.pk for _, host in ways)
        for calls, host in ways:
            if host.pk in heard:
                calls._heard[host.pk] = asked_at

    def make(self, host: Host, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a verb. Raises Lost, when another may be at the guest by now; DidNotAnswer; what the verb raises.

        Raises Unreachable when the watcher says that the host does not answer, or begins to say so meanwhile.
        Errors carry the host's key: of two hosts it tells which could not.
        """
        return self._limited(host, verb, functools.partial(getattr(hypervisor_of(host), verb), *args, **kwargs))

    def _limited(self, host: Host, verb: str, run: functools.partial[Any]) -> Any:
        try:
            return self._call(host, verb, run)
        except HypervisorError as error:
            error.host_id = host.pk if error.host_id is None else error.host_id
            raise

    def _call(self, host: Host, verb: str, run: functools.partial[Any]) -> Any:
        seconds = self._seconds(host, verb)
        self._check(host, 0.0)
        self._lease.check()
        patience = 0.0 if verb in QUICK else PATIENCE * settings.HOST_SILENT_AFTER_SECONDS
        call = Call(run, fence=self._fence, still=lambda: self._check(host, patience, waiting=True))
        try:
            found = call.result(seconds)
        except TimeoutError:
            self._silent.add(host.pk)
            forget(host)  # its connection may be what hangs; another call gets a new one
            raise DidNotAnswer(f"{host.name} did not answer within {seconds:g} s ({verb}).") from None
        return self._each(host, verb, found) if isinstance(found, Iterator) else found

    def _check(self, host: Host, patience: float, waiting: bool = False) -> None:
        """What the watcher says of the host, asked once in a while. Raises Unreachable."""
        if time.monotonic() < self._heard.get(host.pk, 0.0) + BELIEVED_SECONDS:
            return
        try:
            with suppress(DatabaseError):  # whether the lease still holds is another question
                check_answers(host.pk, patience)
        except Unreachable:
            if waiting:
                forget(host)  # the call that is left behind hangs in its connection
            raise
        self._heard[host.pk] = time.monotonic()

    def _fence(self) -> None:
        if self._lease.lapsed():
            raise Lost("this call is nobody's any more")

    def _each(self, host: Host, verb: str, found: Iterator[Any]) -> Iterator[Any]:
        """The content of a volume comes in pieces; each is a call."""
        end = object()
        while (one := self._limited(host, verb, functools.partial(next, found, end))) is not end:
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
