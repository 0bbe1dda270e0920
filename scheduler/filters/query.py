"""The hint ``query``: an expression over a host's attributes."""

from __future__ import annotations

from functools import partial

from scheduler import json_query
from scheduler.attributes import value_of
from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.request import Request
from scheduler.scene import Scene


class JsonFilter(Filter):
    """The expression is true of the host."""

    sentence = "With the hint query: keeps hosts of which the expression is true. Users learn about hosts by asking."
    short = "not as the query asks"
    default = False

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those of which it is true."""
        if not (query := request.hints.get("query")):
            return hosts
        try:
            true_of = json_query.compiled(query)
        except json_query.BadQuery:
            return []
        return [host for host in hosts if true_of(partial(value_of, host, scene))]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """In words."""
        try:
            json_query.check(request.hints["query"])
        except json_query.BadQuery as error:
            return f"cannot be asked: {error}"
        return "does not fulfil the hint query"
