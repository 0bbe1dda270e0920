"""Asking a host while somebody waits for the answer: within a limit, whatever the host does.

Workers have ``compute/operations/calls.py`` for this, with a lease. Here nothing is under way that anybody could
take over, so the questions are few, change nothing that would not be made again, and may be left behind.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from compute.errors import Invalid
from compute.hosts.calls import Call
from compute.hosts.connections import forget, hypervisor_at, hypervisor_of
from compute.hosts.liveness import check_answers
from compute.hypervisor.interface import Failed, Hypervisor, HypervisorError, Unreachable
from compute.hypervisor.ways import Refused
from compute.models import Host

T = TypeVar("T")

ASK_SECONDS = 60.0
# Who only reads waits so long, and so many questions of this process may hang in one host.
ANSWER_SECONDS = 5.0
MOST_LEFT_BEHIND = 4

_left_behind: dict[int, list[Call]] = {}
_lock = threading.Lock()


def ask(uri: str, question: Callable[[Hypervisor], T], seconds: float = ASK_SECONDS) -> T:
    """What the host at a URI answers, over a connection of its own. The question runs in another thread: no rows there.

    Raises HypervisorError; Failed when its time is over. Raises Invalid for a URI that is not taken.
    """
    try:
        hypervisor = hypervisor_at(uri)
    except Refused as error:
        raise Invalid(str(error), about="uri") from error

    def run() -> T:
        try:
            return question(hypervisor)
        finally:
            _close(hypervisor)

    try:
        return cast(T, Call(functools.partial(run)).result(seconds))
    except TimeoutError:
        raise Failed(f"The host did not answer within {seconds:g} s.") from None


def _close(hypervisor: Hypervisor) -> None:
    with suppress(HypervisorError):  # it is gone; so is the connection
        hypervisor.close()


def ask_host(host: Host, verb: str, *args: Any) -> Any:
    """One question to a host, and its answer. Raises what the verb raises.

    Raises Unreachable without asking when the host is known not to answer, or when too many questions of
    this process hang there already; and after 5 s without an answer.
    """
    check_answers(host.pk)
    with _lock:
        hanging = _left_behind[host.pk] = [call for call in _left_behind.get(host.pk, ()) if call.is_under_way()]
    if len(hanging) >= MOST_LEFT_BEHIND:
        raise Unreachable(f"{host.name} has left {len(hanging)} questions without an answer.")
    call = Call(functools.partial(getattr(hypervisor_of(host), verb), *args))
    try:
        return call.result(ANSWER_SECONDS)
    except TimeoutError:
        with _lock:
            _left_behind[host.pk].append(call)
        forget(host)  # its connection may be what hangs; another call gets a new one
        raise Unreachable(f"{host.name} did not answer within {ANSWER_SECONDS:g} s ({verb}).") from None
