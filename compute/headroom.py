"""How far a guest may grow while it runs: what its flavor says, from its start until its next resize.

Two extra specs of a flavor leave the room: ``nacelle:max_vcpus`` and ``nacelle:max_memory_mb``. A guest that
was given another flavor while it ran keeps the room that it was started with: it is in its copy of the flavor.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MAX_VCPUS, MAX_MEMORY_MB = "nacelle:max_vcpus", "nacelle:max_memory_mb"
# Linux on x86 takes added memory in blocks of this size (Documentation/admin-guide/mm/memory-hotplug.rst).
MEMORY_STEP_MB = 128


@dataclass(frozen=True)
class Headroom:
    """The most that a guest may get while it runs; at least what it has."""

    vcpus: int
    memory_mb: int


def headroom_of(flavor: dict[str, Any]) -> Headroom:
    """The room of a guest with this flavor (``Flavor.snapshot``)."""
    if kept := flavor.get("headroom"):
        return Headroom(**kept)
    specs = flavor.get("extra_specs", {})
    return Headroom(
        max(flavor["vcpus"], _number(specs.get(MAX_VCPUS))), max(flavor["memory_mb"], _number(specs.get(MAX_MEMORY_MB)))
    )


def within(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """The new flavor for a guest that goes on running with the room of the old one."""
    return {**new, "headroom": asdict(headroom_of(old))}


def _number(text: Any) -> int:
    """What a spec says; nothing, if it was written before anybody looked at it."""
    return int(text) if str(text or "").isascii() and str(text or "").isdigit() else 0
