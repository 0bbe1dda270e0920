"""A last look, right before a request goes to a host, at whether it may still be made.

Whoever calls a driver may lose the right to do so in the middle of a verb: its lease ran out while
the machine slept, or it gave the call up because it did not return. Drivers ask ``check`` before each
of a verb's requests, so that such a latecomer changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_look: ContextVar[Callable[[], None] | None] = ContextVar("fence", default=None)


def check() -> None:
    """Raises what the caller's fence raises, if there is one and it is closed."""
    look = _look.get()
    if look is not None:
        look()


@contextmanager
def behind(look: Callable[[], None]) -> Iterator[None]:
    """In this block, and this thread, drivers ask ``look`` before each request."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)
