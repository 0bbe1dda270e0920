"""Asking a host while somebody waits for the answer: within a limit, whatever the host does.

Workers have ``compute/operations/calls.py`` for this, with a lease. Here nothing is under way that anybody could
take over, so the questions are few, change nothing that would not be made again, and may be left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

from compute.errors import Invalid
from compute.hosts.connections import hypervisor_at
from compute.hypervisor import fence
from compute.hypervisor.interface import Failed, Hypervisor, HypervisorError
from compute.hypervisor.ways import Refused

T = TypeVar("T")

ASK_SECONDS = 60.0


def ask(uri: str, question: Callable[[Hypervisor], T], seconds: float = ASK_SECONDS) -> T:
    """What the host at a URI answers, over a connection of its own. The question runs in another thread: no rows there.

    Raises HypervisorError; Failed when its time is over. Raises Invalid for a URI that is not taken.
    """
    try:
        hypervisor = hypervisor_at(uri)
    except Refused as error:
        raise Invalid(str(error), about="uri") from error
    found: Future[T] = Future()
    late = threading.Event()

    def check() -> None:
        if late.is_set():
            raise Failed("nobody waits for this any more")

    def run() -> None:
        try:
            with fence.behind(check):
                found.set_result(question(hypervisor))
        except BaseException as error:
            found.set_exception(error)
        finally:
            _close(hypervisor)

    threading.Thread(target=copy_context().run, args=(run,), name="host-question", daemon=True).start()
    try:
        return found.result(seconds)
    except TimeoutError:
        late.set()
        raise Failed(f"The host did not answer within {seconds:g} s.") from None


def _close(hypervisor: Hypervisor) -> None:
    with suppress(HypervisorError):  # it is gone; so is the connection
        hypervisor.close()
