"""What a filter is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from scheduler.hoststate import HostView
from scheduler.options import Option, clean
from scheduler.request import Request
from scheduler.scene import Scene


class Filter:
    """Says which hosts can take a request, and why a host cannot, in words with the numbers.

    ``keep`` gets all hosts at once and gives back those that can, in their order; it returns the very
    list that it was given when the request is none of its business. ``why`` is asked only for hosts
    that are explained. A site's own filter is easier written as a ``HostFilter``.
    """

    sentence: ClassVar[str] = ""  # what it does, for the administrator
    short: ClassVar[str] = ""  # what is wrong with the hosts that it refuses, for whoever finds none
    options: ClassVar[tuple[Option, ...]] = ()
    default: ClassVar[bool] = True  # whether it is on unless somebody says otherwise
    # It carries out what the request says, or what it asks is checked again by the claim: it cannot be off.
    essential: ClassVar[bool] = False
    on_rebuild: ClassVar[bool] = False  # it is asked again when an instance gets another image

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        """``given``: values of options. Raises BadOption."""
        self.chosen = clean(self.options, given or {})

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those of the hosts that can take the request."""
        raise NotImplementedError

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """What is wrong with a host that was not kept."""
        raise NotImplementedError

    def room(self, host: HostView, request: Request, scene: Scene) -> int | None:
        """How many such requests this filter would let onto a host that it keeps; None: any number."""
        return None


class HostFilter(Filter):
    """The simple way: one host at a time. Override ``passes`` and ``why``."""

    def passes(self, host: HostView, request: Request) -> bool:
        """Whether the host can take the request."""
        raise NotImplementedError

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that pass."""
        passes = self.passes
        return [host for host in hosts if passes(host, request)]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Override it to say more."""
        return "does not pass"


def by_make(hosts: list[HostView], suits: Callable[[HostView], bool]) -> list[HostView]:
    """The hosts that suit, where that depends on ``HostView.facts`` alone: each make is asked about once."""
    makes = {id(host.facts): host for host in hosts}
    bad = {make for make, host in makes.items() if not suits(host)}
    return [host for host in hosts if id(host.facts) not in bad] if bad else hosts


def name_of(one: object) -> str:
    """The field's name of a filter or weigher."""
    return type(one).__name__
