"""From a network's rows to the driver's values."""

from __future__ import annotations

from compute.hypervisor.interface import NetworkSpec
from compute.models import Network


def network_spec(network: Network) -> NetworkSpec:
    """The libvirt network of a network; its first IPv4 subnet gives addresses."""
    subnet = next(subnet for subnet in network.subnets.all() if subnet.ip_version == 4)
    return NetworkSpec(
        uuid=network.id,
        cidr=subnet.cidr,
        gateway=str(subnet.gateway_ip),
        mtu=network.mtu,
        dhcp=subnet.enable_dhcp,
        dns_servers=tuple(subnet.dns_nameservers),
    )
