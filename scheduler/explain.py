"""The explanation of a placement: every filter's verdicts with the numbers, and the finalists' weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scheduler.hoststate import HostView

if TYPE_CHECKING:
    from scheduler.filters.base import Filter
    from scheduler.request import Request
    from scheduler.scene import Scene

# Of so many hosts every verdict is kept. Where there are more, each filter still explains a few, and counts all.
HOSTS_EXPLAINED = 50
LEAST_A_FILTER = 5
LONGEST_WHY = 300
NO_HOST = "No valid host was found"


@dataclass
class Explanation:
    """Filled in while deciding; stored with the operation as JSON."""

    considered: int = 0
    filters: list[dict[str, Any]] = field(default_factory=list)  # {"name", "into", "out"}
    rejected: list[dict[str, str]] = field(default_factory=list)  # {"host", "filter", "why"}
    weights: list[dict[str, Any]] = field(default_factory=list)  # {"host", "weight", "parts"}
    notes: list[str] = field(default_factory=list)  # what did not work, for administrators
    chosen: str = ""
    _short: dict[str, tuple[str, str]] = field(default_factory=dict)  # filter → (what was short, the first numbers)

    def reject(self, host: str, filter_name: str, why: str) -> None:
        """Keep a verdict; of a claim that was lost, for the most part."""
        if len(self.rejected) < HOSTS_EXPLAINED:
            self.rejected.append({"host": host, "filter": filter_name, "why": why[:LONGEST_WHY]})

    def filtered(
        self, one: Filter, into: list[HostView], out: list[HostView], *, request: Request, scene: Scene
    ) -> None:
        """Keep what a filter did; ``out`` is ``into`` without those refused, in the same order."""
        name = type(one).__name__
        self.filters.append({"name": name, "into": len(into), "out": len(out)})
        if len(out) == len(into):
            return
        refused = first_refused(into, out, max(LEAST_A_FILTER, HOSTS_EXPLAINED - len(self.rejected)))
        verdicts = [(host.name, one.why(host, request, scene)[:LONGEST_WHY]) for host in refused]
        self.rejected += [{"host": host, "filter": name, "why": why} for host, why in verdicts]
        self._short[name] = (one.short or f"refused by {name}", verdicts[0][1])

    def sentence(self) -> str:
        """What a user reads when no host was found: what was short, on how many hosts."""
        if not self.considered:
            return f"{NO_HOST}: there is no host yet; an administrator adds the first."
        if self.considered == 1 and self.rejected:
            one = self.rejected[0]
            return f"{NO_HOST}: {one['host']} {one['why'].rstrip('.')}."
        lost = {entry["name"]: entry["into"] - entry["out"] for entry in self.filters}
        parts = [
            f"{short} on {lost[name]} ({numbers})" if name == self._last_short() else f"{short} on {lost[name]}"
            for name, (short, numbers) in self._short.items()
        ]
        return f"{NO_HOST}: of {self.considered} hosts, {', '.join(parts) or 'each was taken by a faster request'}."

    def _last_short(self) -> str:
        """The filter that came closest: it refused the hosts that had passed all others."""
        return list(self._short)[-1]

    def as_json(self) -> dict[str, Any]:
        """For the action's row."""
        return {
            "considered": self.considered,
            "filters": self.filters,
            "rejected": self.rejected,
            "weights": self.weights,
            "notes": self.notes,
            "chosen": self.chosen,
        }


def first_refused(into: list[HostView], out: list[HostView], most: int) -> list[HostView]:
    """The first hosts of ``into`` that are not in ``out``, which has the same order. Goes no further than it must."""
    refused: list[HostView] = []
    place = 0
    for host in into:
        if place < len(out) and out[place] is host:
            place += 1
            continue
        refused.append(host)
        if len(refused) == most:
            break
    return refused
