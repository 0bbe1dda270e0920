"""Prefer free memory."""

from __future__ import annotations

from scheduler.hoststate import HostView, Request


class RAMWeigher:
    """The most free memory wins, which spreads instances; a negative multiplier would stack them."""

    multiplier = 1.0

    def weigh(self, host: HostView, request: Request) -> float:
        """Free memory, MiB."""
        return host.free_memory_mb
