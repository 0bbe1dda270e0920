"""The explanation of a placement: every filter's verdict on every host, and the weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# Verdicts are kept for this many hosts; counts are kept for all.
HOSTS_EXPLAINED = 50


@dataclass
class Explanation:
    """Filled in while deciding; stored with the operation as JSON."""

    considered: int = 0
    filters: list[dict[str, Any]] = field(default_factory=list)  # {"name", "into", "out"}
    rejected: list[dict[str, str]] = field(default_factory=list)  # {"host", "filter", "why"}
    weights: list[dict[str, Any]] = field(default_factory=list)  # {"host", "weight", "parts"}
    chosen: str = ""

    def reject(self, host: str, filter_name: str, why: str) -> None:
        """Keep a verdict."""
        if len(self.rejected) < HOSTS_EXPLAINED:
            self.rejected.append({"host": host, "filter": filter_name, "why": why})

    def sentence(self) -> str:
        """What a user reads when no host was found: what was short, on how many hosts."""
        if not self.considered:
            return "No valid host was found: there is no host yet; an administrator adds the first."
        if self.considered == 1 and self.rejected:
            one = self.rejected[0]
            return f"No valid host was found: {one['host']} {one['why']}."
        lost = Counter({entry["name"]: entry["into"] - entry["out"] for entry in self.filters})
        words = ", ".join(f"{name} refused {count}" for name, count in lost.items() if count)
        example = f" (for example {self.rejected[0]['host']}: {self.rejected[0]['why']})" if self.rejected else ""
        return f"No valid host was found among {self.considered}: {words or 'others were faster'}{example}."

    def as_json(self) -> dict[str, Any]:
        """For the action's row."""
        return {
            "considered": self.considered,
            "filters": self.filters,
            "rejected": self.rejected,
            "weights": self.weights,
            "chosen": self.chosen,
        }
