"""Whether a host may be used at all: alive, enabled, in the zone, not tried before."""

from __future__ import annotations

from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.request import Request
from scheduler.scene import Scene


class AllHostsFilter(Filter):
    """Every host."""

    sentence = "Lets every host pass."
    default = False

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """All of them."""
        return hosts

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Never asked."""
        return ""


class RetryFilter(Filter):
    """The host has not failed this request already, is not the one to be left, and sees the disks that are kept."""

    sentence = (
        "Leaves out hosts that have failed the same request already, the host that an instance is to leave, and "
        "in an evacuation that keeps the disks those that do not see them."
    )
    short = "ruled out (the server is there now, its disks are not, or an attempt failed there)"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """The untried."""
        tried, leaves, seeing = request.tried, request.leaves, request.seeing
        if seeing is not None:
            hosts = [host for host in hosts if host.id in seeing]
        if not tried and leaves is None:
            return hosts
        return [host for host in hosts if host.id not in tried and host.id != leaves]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """In words; Nova's for a host that is to be left."""
        if host.id == request.leaves:
            return "is where the server is: unable to migrate to self"
        if request.seeing is not None and host.id not in request.seeing:
            return "does not see the disks of the server"
        return "was tried for this request and failed"


class RequestedHostFilter(Filter):
    """The host is the one that an administrator asked for."""

    sentence = "Keeps only the host that an administrator asked for, if one was."
    short = "not the host asked for"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """That host, or all when none was asked for."""
        wanted = request.host
        return [host for host in hosts if host.name == wanted] if wanted else hosts

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """The one asked for."""
        return f"the host {request.host} was asked for"


class AvailabilityZoneFilter(Filter):
    """The host is in the zone that was asked for."""

    sentence = "Keeps the hosts of the availability zone that was asked for."
    short = "in another zone"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those in the zone, or all when none was asked for."""
        zone = request.zone
        return [host for host in hosts if host.zone == zone] if zone else hosts

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Both zones."""
        return f"is in zone {host.zone}, zone {request.zone} was asked for"


class ComputeFilter(Filter):
    """The host is up and enabled."""

    sentence = "Keeps hosts that are up and enabled."
    short = "down or disabled"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that are."""
        return [host for host in hosts if host.up and host.enabled]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Which of the two, and the reason given."""
        what = "is disabled" if not host.enabled else "is down"
        return f"{what}: {host.down_reason}" if host.down_reason else what
