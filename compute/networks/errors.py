"""What can be wrong with networks, by Neutron's names: its clients read the class from the error's body."""

from __future__ import annotations

from compute.errors import Conflict, Invalid, NotFound


class NetworkNotFound(NotFound):
    """No such network, or none that the caller may see."""


class SubnetNotFound(NotFound):
    """No such subnet."""


class PortNotFound(NotFound):
    """No such port."""


class SecurityGroupNotFound(NotFound):
    """No such security group."""


class SecurityGroupRuleNotFound(NotFound):
    """No such rule."""


class ExtensionsNotFound(NotFound):
    """No such extension."""


class InvalidIpForNetwork(Invalid):
    """The address lies in none of the network's subnets."""


class InvalidInput(Invalid):
    """What is asked of a subnet cannot be."""


class NetworkInUse(Conflict):
    """Ports are on the network."""


class InvalidSharedSetting(Conflict):
    """Other projects use the network."""


class SubnetInUse(Conflict):
    """Ports have addresses of the subnet."""


class SecurityGroupCannotUpdateDefault(Conflict):
    """The group ``default`` keeps its name."""


class PortInUse(Conflict):
    """A server uses the port."""


class MacAddressInUse(Conflict):
    """Another port has the MAC address."""


class SecurityGroupInUse(Conflict):
    """Ports wear the group."""


class SecurityGroupCannotRemoveDefault(Conflict):
    """The group ``default`` stays, but for administrators."""


class SecurityGroupDefaultAlreadyExists(Conflict):
    """A project has one group ``default``, which makes itself."""


class OverQuota(Conflict):
    """The project has as many as it may have (409, as Neutron)."""
