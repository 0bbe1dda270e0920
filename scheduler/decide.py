"""The decision without the claim: filters, then weighers, over plain values."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from scheduler.explain import HOSTS_EXPLAINED, Explanation
from scheduler.filters import Filter
from scheduler.filters.base import name_of
from scheduler.hoststate import HostView
from scheduler.pipeline import Pipeline
from scheduler.request import Request
from scheduler.scene import Scene
from scheduler.weighers import Weigher
from scheduler.weighers.base import normalised

log = logging.getLogger(__name__)


@dataclass
class Deciding:
    """One decision under way."""

    pipeline: Pipeline
    request: Request
    scene: Scene
    explanation: Explanation = field(default_factory=Explanation)

    def rank(self, hosts: list[HostView]) -> list[HostView]:
        """The hosts that can take the request, the best first; of equals, the first by name."""
        self.explanation.considered = len(hosts)
        self.explanation.notes += self.pipeline.problems
        passed = self.forced(hosts) if self.request.forced else self.filtered(hosts)
        return self.weighed(passed) if passed else []

    def forced(self, hosts: list[HostView]) -> list[HostView]:
        """The host that an administrator forces, whatever the filters say; none if it failed this request already."""
        named = [host for host in hosts if host.name == self.request.host]
        untried = [host for host in named if host.id not in self.request.tried]
        self.explanation.considered = len(named)
        self.explanation.filters.append({"name": "ForcedHost", "into": len(named), "out": len(untried)})
        return untried

    def filtered(self, hosts: list[HostView]) -> list[HostView]:
        """The hosts that all filters keep."""
        for one in self.pipeline.filters:
            passed = self._kept_by(one, hosts)
            if passed is not None:
                self.explanation.filtered(one, hosts, passed, request=self.request, scene=self.scene)
                hosts = passed
            if not hosts:
                break
        return hosts

    def _kept_by(self, one: Filter, hosts: list[HostView]) -> list[HostView] | None:
        """What a filter keeps; None when it is a site's own and does not work."""
        if not is_foreign(one):
            return one.keep(hosts, self.request, self.scene)
        try:
            kept = {id(host) for host in one.keep(hosts, self.request, self.scene)}
            passed = [host for host in hosts if id(host) in kept]
            if len(passed) < len(hosts):
                one.why(next(host for host in hosts if id(host) not in kept), self.request, self.scene)
        except Exception as error:
            self._report(one, error)
            return None
        return passed

    def _report(self, one: object, error: Exception) -> None:
        log.exception("%s does not work and is left out", name_of(one))
        self.explanation.notes.append(f"{name_of(one)} does not work and was left out: {type(error).__name__}: {error}")

    def weighed(self, hosts: list[HostView]) -> list[HostView]:
        """The hosts, the best first."""
        totals = [0.0] * len(hosts)
        raw_by_name: dict[str, list[float]] = {}
        for one in self.pipeline.weighers:
            if self._counts(one) and (raw := self._weights_by(one, hosts)) is not None:
                raw_by_name[name_of(one)] = raw
                self._add(totals, one, raw, hosts)
        names = [host.name for host in hosts]
        order = sorted(range(len(hosts)), key=names.__getitem__)
        order.sort(key=totals.__getitem__, reverse=True)  # both are stable: equals stay in the order of their names
        self.explanation.weights = [
            {
                "host": names[index],
                "weight": round(totals[index], 4),
                "parts": {name: raw[index] for name, raw in raw_by_name.items()},
            }
            for index in order[:HOSTS_EXPLAINED]
        ]
        return [hosts[index] for index in order]

    def _counts(self, one: Weigher) -> bool:
        """Whether it can tell hosts apart: it has a multiplier, somewhere, and matters for the request."""
        if not one.multiplier and not self._overrides(one):
            return False
        return is_foreign(one) or one.matters(self.request)

    def _overrides(self, one: Weigher) -> dict[int, float]:
        return self.scene.aggregates.smallest(one.multiplier_key) if one.multiplier_key else {}

    def _weights_by(self, one: Weigher, hosts: list[HostView]) -> list[float] | None:
        if not is_foreign(one):
            return one.weigh(hosts, self.request, self.scene)
        try:
            raw = [float(weight) for weight in one.weigh(hosts, self.request, self.scene)]
            if len(raw) != len(hosts):
                raise ValueError(f"it gave {len(raw)} weights for {len(hosts)} hosts")
        except Exception as error:
            self._report(one, error)
            return None
        return raw

    def _add(self, totals: list[float], one: Weigher, raw: list[float], hosts: list[HostView]) -> None:
        """Add a weigher's part, with the multipliers of aggregates where there are any."""
        weights = normalised(raw, one.span)
        if not any(weights):
            return
        if overrides := self._overrides(one):
            least = one.least_multiplier
            for index, host in enumerate(hosts):
                multiplier = overrides.get(host.id, one.multiplier)
                totals[index] += (multiplier if least is None else max(least, multiplier)) * weights[index]
            return
        multiplier = one.multiplier
        totals[:] = [total + multiplier * weight for total, weight in zip(totals, weights, strict=True)]


def is_foreign(one: object) -> bool:
    """Whether a filter or weigher is a site's own."""
    return not type(one).__module__.startswith("scheduler.")


def room_on(host: HostView, deciding: Deciding) -> int:
    """How many such requests a host that can take one could take."""
    rooms = [one.room(host, deciding.request, deciding.scene) for one in deciding.pipeline.filters]
    return min((room for room in rooms if room is not None), default=0)
