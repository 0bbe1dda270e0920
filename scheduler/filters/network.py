"""Near an address."""

from __future__ import annotations

import ipaddress

from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.request import Request
from scheduler.scene import Scene

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network_of(near: object, cidr: object = "/24") -> Network:
    """The network around an address. Raises ValueError, with a sentence for whoever gave the hints."""
    try:
        return ipaddress.ip_network(f"{near}/{str(cidr).lstrip('/')}", strict=False)
    except ValueError as error:
        raise ValueError(f"build_near_host_ip and cidr make no network: {near} and {cidr}.") from error


class SimpleCIDRAffinityFilter(Filter):
    """The host's address is in the network of the hints."""

    sentence = (
        "With the hints build_near_host_ip and cidr: keeps hosts with an address in that network. "
        "Users learn hosts' addresses by asking."
    )
    short = "not near the address asked for"
    default = False

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those in it."""
        if not request.hints.get("build_near_host_ip"):
            return hosts
        try:
            network = self._network(request)
        except ValueError:
            return []
        return [host for host in hosts if _is_in(host.address, network)]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Both."""
        try:
            return f"has the address {host.address or 'unknown'}, which is not in {self._network(request)}"
        except ValueError as error:
            return f"cannot be asked: {error}"

    def _network(self, request: Request) -> Network:
        return network_of(request.hints["build_near_host_ip"], request.hints.get("cidr") or "/24")


def _is_in(address: str, network: Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:  # a name that did not resolve when the host was added
        return False
