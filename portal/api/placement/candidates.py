"""Allocation candidates: which hosts could take so much, as placement answers it.

Hosts are providers without parts, so a request of several groups is answered by one host for all of
them, and by none where the groups must be apart.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.hosts.traits import traits_of
from compute.models import Host
from portal.api.compute.base import call
from portal.api.placement.base import PlacementView
from portal.api.placement.query import Wanted, traits, wanted
from portal.api.placement.stock import Stock, stocks
from portal.api.shape import Shape, field

QUERY = {
    "resources": "1.10", "limit": "1.16", "required": "1.17", "member_of": "1.21", "group_policy": "1.25",
    "in_tree": "1.31", "root_required": "1.35", "same_subtree": "1.36",
}  # fmt: skip
# The parts of a numbered group, and since when one may have them.
OF_GROUPS = {"resources": "1.25", "required": "1.25", "member_of": "1.25", "in_tree": "1.31"}
NUMBER, SUFFIX = r"[1-9][0-9]*", r"[a-zA-Z0-9_-]{1,64}"
POLICIES = ("none", "isolate")


class AllocationCandidates(PlacementView):
    """/allocation_candidates"""

    @call("placement:allocation_candidates:list", since="1.10")
    def get(self, request: Request) -> Response:
        """List the hosts that could take so much, with what they have."""
        suffixes = self._suffixes()
        self.known_query(QUERY | {f"{name}{suffix}": "1.25" for suffix in suffixes for name in OF_GROUPS})
        groups = {suffix: wanted(self, suffix) for suffix in ("", *suffixes)}
        if not groups[""].resources and not suffixes:
            raise ParseError("All request groups must specify resources: the query parameter resources is missing.")
        limit, apart = self._limit(), self._apart(suffixes)
        fitting = [] if apart else self._fitting(groups)
        return Response(self._body(groups, fitting[:limit]))

    def _suffixes(self) -> list[str]:
        """The ends of the names of numbered groups."""
        if not self.at("1.25"):
            return []
        end = SUFFIX if self.at("1.33") else NUMBER
        names = "|".join(name for name, since in OF_GROUPS.items() if self.at(since))
        named = re.compile(rf"(?:{names})({end})")
        matches = (named.fullmatch(name) for name in self.request.query_params)
        suffixes = sorted({match[1] for match in matches if match})
        for suffix in suffixes:
            if f"resources{suffix}" not in self.request.query_params and not self.at("1.36"):
                raise ParseError(f"All request groups must specify resources: group {suffix} has none.")
        return suffixes

    def _limit(self) -> int | None:
        text = self.only("limit")
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text)):
            raise ParseError("Invalid query string parameters: limit must be a whole number from 1 on.")
        return int(text)

    def _apart(self, suffixes: list[str]) -> bool:
        """Whether groups must go to different providers, which no host of ours is to itself."""
        policy = self.only("group_policy")
        if policy is not None and policy not in POLICIES:
            raise ParseError(f"Invalid query string parameters: group_policy is one of {', '.join(POLICIES)}.")
        if policy is None and len(suffixes) > 1:
            raise ParseError('The "group_policy" parameter is required when specifying more than one "resources{N}".')
        return policy == "isolate" and len(suffixes) > 1

    def _fitting(self, groups: dict[str, Wanted]) -> list[tuple[Host, dict[str, Stock]]]:
        required, forbidden = traits(self, "root_required")
        conditions = [*groups.values(), Wanted(_total(groups)), Wanted(any_traits=required, no_traits=forbidden)]
        hosts = ((host, stocks(host)) for host in Host.objects.prefetch_related("aggregates"))
        return [(host, stock) for host, stock in hosts if all(one.fits(host, stock) for one in conditions)]

    def _body(self, groups: dict[str, Wanted], fitting: list[tuple[Host, dict[str, Stock]]]) -> dict[str, Any]:
        total = _total(groups)
        if fitting:
            self.modified = max(host.updated_at for host, _ in fitting)
        summaries = {
            str(host.uuid): SUMMARY.render((host, stock), self.version, None if self.at("1.27") else set(total))
            for host, stock in fitting
        }
        requests = [self._request(str(host.uuid), total, groups) for host, _ in fitting]
        return {"allocation_requests": requests, "provider_summaries": summaries}

    def _request(self, key: str, total: dict[str, int], groups: dict[str, Wanted]) -> dict[str, Any]:
        """The body that would claim it: a list of allocations up to 1.11, by provider since."""
        if not self.at("1.12"):
            return {"allocations": [{"resource_provider": {"uuid": key}, "resources": total}]}
        body: dict[str, Any] = {"allocations": {key: {"resources": total}}}
        if self.at("1.34"):
            body["mappings"] = {suffix: [key] for suffix, group in groups.items() if group.resources}
        return body


def _total(groups: dict[str, Wanted]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for group in groups.values():
        total.update(group.resources)
    return dict(total)


def _resources(row: tuple[Host, dict[str, Stock]], only: set[str] | None) -> dict[str, dict[str, int]]:
    return {
        name: {"capacity": stock.capacity, "used": stock.used}
        for name, stock in row[1].items()
        if only is None or name in only
    }


SUMMARY: Shape[tuple[Host, dict[str, Stock]]] = Shape(
    field("resources", _resources),
    field("traits", lambda row, only: sorted(traits_of(row[0])), since="1.17"),
    field("parent_provider_uuid", lambda row, only: None, since="1.29"),
    field("root_provider_uuid", lambda row, only: str(row[0].uuid), since="1.29"),
)
