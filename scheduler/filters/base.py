"""What a filter is."""

from __future__ import annotations

from typing import Protocol

from scheduler.hoststate import HostView, Request


class Filter(Protocol):
    """Says whether a host can take a request, and why not in words with the numbers.

    ``passes`` runs for every host and is cheap; ``why`` runs only for what is explained.
    """

    def passes(self, host: HostView, request: Request) -> bool: ...

    def why(self, host: HostView, request: Request) -> str: ...


def name_of(one: object) -> str:
    """The field's name of a filter or weigher."""
    return type(one).__name__
