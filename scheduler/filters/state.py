"""Whether a host may be used at all: alive, enabled, in the zone, not tried before."""

from __future__ import annotations

from scheduler.hoststate import HostView, Request


class RetryFilter:
    """The host has not failed this request already."""

    def passes(self, host: HostView, request: Request) -> bool:
        """Whether it is untried."""
        return host.id not in request.tried

    def why(self, host: HostView, request: Request) -> str:
        """In words."""
        return "was tried for this request and failed"


class RequestedHostFilter:
    """The host is the one that an administrator asked for."""

    def passes(self, host: HostView, request: Request) -> bool:
        """Whether it is, or none was asked for."""
        return not request.host or host.name == request.host

    def why(self, host: HostView, request: Request) -> str:
        """The one asked for."""
        return f"the host {request.host} was asked for"


class AvailabilityZoneFilter:
    """The host is in the zone that was asked for."""

    def passes(self, host: HostView, request: Request) -> bool:
        """Whether the zone matches, or none was asked for."""
        return not request.zone or host.zone == request.zone

    def why(self, host: HostView, request: Request) -> str:
        """Both zones."""
        return f"is in zone {host.zone}, zone {request.zone} was asked for"


class ComputeFilter:
    """The host is up and enabled."""

    def passes(self, host: HostView, request: Request) -> bool:
        """Whether it is."""
        return host.up and host.enabled

    def why(self, host: HostView, request: Request) -> str:
        """Which of the two, and the reason given."""
        what = "is disabled" if not host.enabled else "is down"
        return f"{what}: {host.down_reason}" if host.down_reason else what
