"""Trouble on order: a fake host's verbs fail, hang or kill their process at the call that was named."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, ParamSpec, TypeVar

from compute.hypervisor import fence, interface
from compute.hypervisor.fake.state import State

P = ParamSpec("P")
R = TypeVar("R")

FOR_EVER = 10**9
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Fault:
    """What goes wrong, at which call of which verb (counted from 1; "*" is any verb).

    ``when`` is "before" the verb does its work or "after" it. ``times`` calls in a row are hit.
    ``error`` is the name of one of the six errors, for "fail"; ``seconds`` is for "hang", after which the
    call goes on, unless the host is healed (by any process) or ``hanging.end()`` (of this one) comes before.
    "kill" ends the process as SIGKILL does.
    """

    verb: str
    call: int = 1
    do: Literal["fail", "hang", "kill"] = "fail"
    error: str = "Failed"
    when: Literal["before", "after"] = "before"
    seconds: float = 3600.0
    times: int = 1


class Hanging:
    """The calls of this process that hang now, by their threads."""

    def __init__(self) -> None:
        self._threads: set[threading.Thread] = set()
        self._changed = threading.Condition()
        self._over = threading.Event()

    def here(self, seconds: float, healed: Callable[[], bool]) -> None:
        """This thread's call hangs."""
        with self._changed:
            self._threads.add(threading.current_thread())
            over = self._over
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not over.wait(min(left, LOOK_SECONDS)) and not healed():
            continue

    def returned(self) -> None:
        """This thread's call has returned, whether it hung or not. The thread may have others to make."""
        with self._changed:
            self._threads.discard(threading.current_thread())
            self._changed.notify_all()

    def __contains__(self, thread: threading.Thread) -> bool:
        return thread in self._threads

    def end(self) -> int:
        """All go on, and are waited for until they return. Returns how many they were."""
        with self._changed:
            self._over.set()
            self._over = threading.Event()
            count = len(self._threads)
            self._changed.wait_for(lambda: not self._threads)
        return count


hanging = Hanging()


class Faulty:
    """The side of a fake host that tests speak to."""

    _state: State

    def inject(self, fault: Fault) -> None:
        """Order trouble. Calls are counted from now on."""
        with self._state.change() as state:
            state["faults"].append(asdict(fault) | {"seen": 0, "id": uuid.uuid4().hex})

    def heal(self) -> None:
        """Cancel all faults, and bring the host back if it was down."""
        with self._state.change() as state:
            state["faults"], state["down"] = [], ""

    def break_down(self, reason: str = "no route to host") -> None:
        """The host is gone: every verb raises Unreachable, watchers are told."""
        with self._state.change() as state:
            state["down"] = reason

    def calls(self) -> list[str]:
        """The verbs that were to change the host, oldest first, as "verb argument"."""
        return [text for _, text in self._state.notes("call")]

    def forget(self) -> None:
        """The host is as new."""
        self._state.forget()


def verb(method: Callable[P, R]) -> Callable[P, R]:
    """A verb that changes the host: recorded, delayed, and open to trouble."""
    return _troubled(method, recorded=True)


def question(method: Callable[P, R]) -> Callable[P, R]:
    """A verb that only looks: open to trouble, but not recorded."""
    return _troubled(method, recorded=False)


def _troubled(method: Callable[P, R], recorded: bool) -> Callable[P, R]:
    name = method.__name__

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        fence.check()
        state: State = args[0]._state  # type: ignore[attr-defined]  # the first argument is self
        if recorded:
            state.note("call", f"{name} {_named(args[1])}".strip() if len(args) > 1 else name)
        faults = _due(state, name)
        delay = float(state.options.get(f"delay.{name}", state.options.get("delay", 0)))
        if delay:
            time.sleep(delay)
        try:
            _strike(state, faults, "before")
            result = method(*args, **kwargs)
            _strike(state, faults, "after")
        finally:
            hanging.returned()
        return result

    return call


def _named(value: Any) -> str:
    return str(getattr(value, "uuid", value))


def _due(state: State, name: str) -> list[dict[str, Any]]:
    """Count the call, and find what shall happen to it. Raises Unreachable if the host is down."""
    faults, down = state.trouble()
    due = _counted(state, name) if any(fault["verb"] in (name, "*") for fault in faults) else []
    if down:
        raise interface.Unreachable(down)
    return due


def _counted(state: State, name: str) -> list[dict[str, Any]]:
    due = []
    with state.change() as values:
        for fault in values["faults"]:
            if fault["verb"] in (name, "*"):
                fault["seen"] += 1
                if fault["call"] <= fault["seen"] < fault["call"] + fault["times"]:
                    due.append(fault)
    return due


def _strike(state: State, faults: list[dict[str, Any]], when: str) -> None:
    for fault in faults:
        if fault["when"] != when:
            continue
        if fault["do"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault["do"] == "hang":
            hanging.here(fault["seconds"], functools.partial(_is_healed, state, fault["id"]))
        if fault["do"] == "fail":
            raise getattr(interface, fault["error"])(f"{fault['verb']} was told to fail")


def _is_healed(state: State, fault_id: str) -> bool:
    faults, _ = state.trouble()
    return all(fault["id"] != fault_id for fault in faults)
