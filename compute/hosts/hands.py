"""Threads that make calls to hosts, kept for the next call: one is only left behind while its call hangs."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

_idle: list[Hand] = []


class Hand:
    """A thread that does one thing after another, and is idle in between."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Callable[[], None]]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name="host-call", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            tell = self._work.get()()
            _idle.append(self)  # before it tells: whoever hears of it may have the next thing to do
            tell()

    @staticmethod
    def do(work: Callable[[], Callable[[], None]]) -> threading.Thread:
        """Have it done by a thread that is idle, or by a new one. What it returns is called last, to tell of the end.

        Neither may raise. Returns the thread.
        """
        try:
            hand = _idle.pop()
        except IndexError:
            hand = Hand()
        hand._work.put(work)
        return hand.thread


os.register_at_fork(after_in_child=_idle.clear)  # threads stay behind in the parent
