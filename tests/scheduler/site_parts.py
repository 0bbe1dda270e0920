"""Filters and weighers as a site might bring them; some of them broken."""

from __future__ import annotations

from scheduler.filters import Filter, HostFilter
from scheduler.weighers import HostWeigher


class RackFilter(HostFilter):
    """Only hosts whose names end in an a."""

    short = "in another rack"

    def passes(self, host, request):
        return host.name.endswith("a")

    def why(self, host, request, scene):
        return f"{host.name} is not in rack a"


class AddingFilter(Filter):
    """Gives back more than it got, and in another order."""

    def keep(self, hosts, request, scene):
        return [*reversed(hosts), *hosts]

    def why(self, host, request, scene):
        return ""


class RaisingFilter(HostFilter):
    """Does not work."""

    def passes(self, host, request):
        raise KeyError("rack")


class RaisingWhyFilter(HostFilter):
    """Does not work once it is asked why."""

    def passes(self, host, request):
        return False

    def why(self, host, request, scene):
        raise KeyError("rack")


class NameWeigher(HostWeigher):
    """The later in the alphabet the better."""

    multiplier = 100.0

    def weight(self, host, request):
        return ord(host.name[0])


class RaisingWeigher(HostWeigher):
    """Does not work."""

    def weight(self, host, request):
        return 1 / 0


class EmptyFilter(HostFilter):
    """Says nothing."""


class UnmakeableFilter(RackFilter):
    """Cannot be made."""

    def __init__(self, given=None):
        raise RuntimeError("no rack file")


NOT_A_CLASS = 1


class NotAFilter:
    """Of another family."""
