"""Bodies of the Network API: closed objects, as Neutron's."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ParseError

from compute.networks.addresses import MOST_ADDRESSES
from compute.networks.networks import NewNetwork
from compute.networks.ports import FixedAddress, PortRequest
from compute.networks.subnets import NewSubnet
from portal.api.body import AddressText, Body, StrictBooleanField, StrictCharField, StrictIntegerField, UUIDText
from portal.identity.actor import Actor
from portal.identity.policy import Forbidden


class Owned(Body):
    """What belongs to a project: an administrator may name another."""

    project_id = StrictCharField(max_length=64, required=False)
    tenant_id = StrictCharField(max_length=64, required=False)


class FixedBody(Body):
    """One wanted address."""

    subnet_id = UUIDText(required=False)
    ip_address = AddressText(required=False)


class UpField(StrictBooleanField):
    """``admin_state_up``. Hosts know of no cable that is pulled out, so it is true."""

    def to_internal_value(self, data: Any) -> bool:
        """Refuse false."""
        if not super().to_internal_value(data):
            raise serializers.ValidationError("Switching a network or a port off is not served.")
        return True


class PortChanges(Body):
    """What may change about a port. Where it is plugged in is the compute API's business."""

    name = StrictCharField(max_length=255, required=False, allow_blank=True, trim_whitespace=False)
    description = StrictCharField(max_length=255, required=False, allow_blank=True, trim_whitespace=False)
    admin_state_up = UpField(required=False)
    fixed_ips = serializers.ListField(child=FixedBody(), required=False)
    security_groups = serializers.ListField(child=UUIDText(), required=False, max_length=50)
    binding__vnic_type = serializers.ChoiceField(choices=["normal"], required=False)

    def get_fields(self) -> dict[str, Any]:
        """With the name that Python cannot spell."""
        fields = super().get_fields()
        fields["binding:vnic_type"] = fields.pop("binding__vnic_type")
        return fields

    def validate_fixed_ips(self, fixed: list[Any]) -> tuple[FixedAddress, ...]:
        """Neutron's limit."""
        if len(fixed) > MOST_ADDRESSES:
            raise serializers.ValidationError(f"Exceeded maximum amount of fixed ips per port: {MOST_ADDRESSES}.")
        return tuple(FixedAddress(one.get("subnet_id"), one.get("ip_address")) for one in fixed)


class PortBody(PortChanges, Owned):
    """A port to make."""

    network_id = UUIDText()
    mac_address = StrictCharField(max_length=17, required=False)


class GroupChanges(Body):
    """What may change about a security group."""

    name = StrictCharField(max_length=255, required=False, allow_blank=True, trim_whitespace=False)
    description = StrictCharField(max_length=255, required=False, allow_blank=True, trim_whitespace=False)
    stateful = serializers.ChoiceField(choices=[True], required=False)


class GroupBody(GroupChanges, Owned):
    """A security group to make."""


class NetworkChanges(Body):
    """What may change about a network. Ways out, providers and VLANs it has none of."""

    name = StrictCharField(max_length=255, required=False, allow_blank=True, trim_whitespace=False)
    description = StrictCharField(max_length=255, required=False, allow_blank=True, trim_whitespace=False)
    admin_state_up = UpField(required=False)
    shared = StrictBooleanField(required=False)
    router__external = serializers.ChoiceField(choices=[False], required=False)

    def get_fields(self) -> dict[str, Any]:
        """With the name that Python cannot spell."""
        fields = super().get_fields()
        fields["router:external"] = fields.pop("router__external")
        return fields


class NetworkBody(NetworkChanges, Owned):
    """A network to make."""

    mtu = StrictIntegerField(min_value=576, max_value=9000, required=False)
    availability_zone_hints = serializers.ListField(child=StrictCharField(), required=False, max_length=0)


class PoolBody(Body):
    """One of ``allocation_pools``."""

    start = AddressText()
    end = AddressText()


class SubnetChanges(Body):
    """What may change about a subnet."""

    name = StrictCharField(max_length=255, required=False, allow_blank=True, trim_whitespace=False)
    description = StrictCharField(max_length=255, required=False, allow_blank=True, trim_whitespace=False)
    gateway_ip = AddressText(required=False)
    enable_dhcp = StrictBooleanField(required=False)
    dns_nameservers = serializers.ListField(child=AddressText(), required=False, max_length=5)
    allocation_pools = serializers.ListField(child=PoolBody(), required=False, max_length=64)
    host_routes = serializers.ListField(child=StrictCharField(), required=False, max_length=0)


class SubnetBody(SubnetChanges, Owned):
    """A subnet to make: of IPv4, as hosts give no other addresses."""

    network_id = UUIDText()
    cidr = StrictCharField(max_length=64)
    ip_version = serializers.ChoiceField(choices=[4])
    subnetpool_id = StrictCharField(required=False, allow_null=True, max_length=0)


def port_of(body: dict[str, Any], actor: Actor) -> PortRequest:
    """The port that a body asks for. Raises ParseError, ValidationError and Forbidden."""
    read = PortBody.read(_only(body, "port"))
    groups = read.get("security_groups")
    return PortRequest(
        network_id=read["network_id"],
        name=read.get("name", ""),
        description=read.get("description", ""),
        fixed=read.get("fixed_ips"),
        groups=None if groups is None else tuple(groups),
        mac=read.get("mac_address"),
        owner=_owner(read, actor),
    )


def port_changes(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``update_port``. Raises ParseError and ValidationError."""
    read = PortChanges.read(_only(body, "port"))
    fields: dict[str, Any] = {name: read[name] for name in ("name", "description") if name in read}
    if "fixed_ips" in read:
        fields["fixed"] = read["fixed_ips"]
    if "security_groups" in read:
        fields["groups"] = tuple(read["security_groups"])
    return fields


def group_of(body: dict[str, Any], actor: Actor) -> dict[str, Any]:
    """Keywords of ``create_group``. Raises ParseError, ValidationError and Forbidden."""
    read = GroupBody.read(_only(body, "security_group"))
    return {"name": read.get("name", ""), "description": read.get("description", ""), "owner": _owner(read, actor)}


def group_changes(body: dict[str, Any]) -> dict[str, str]:
    """The fields of ``update_group``. Raises ParseError and ValidationError."""
    read = GroupChanges.read(_only(body, "security_group"))
    return {name: read[name] for name in ("name", "description") if name in read}


def network_of(body: dict[str, Any], actor: Actor) -> NewNetwork:
    """The network that a body asks for. Raises ParseError, ValidationError and Forbidden."""
    read = NetworkBody.read(_only(body, "network"))
    named = {name: read[name] for name in ("name", "description", "shared", "mtu") if name in read}
    return NewNetwork(owner=_owner(read, actor), **named)


def network_changes(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``update_network``. Raises ParseError and ValidationError."""
    read = NetworkChanges.read(_only(body, "network"))
    return {name: read[name] for name in ("name", "description", "shared") if name in read}


def subnet_of(body: dict[str, Any], actor: Actor) -> NewSubnet:
    """The subnet that a body asks for. Raises ParseError, ValidationError and Forbidden."""
    read = SubnetBody.read(_only(body, "subnet"))
    _owner(read, actor)  # a subnet is its network's owner's; an administrator may say so
    pools = read.get("allocation_pools")
    return NewSubnet(
        network_id=read["network_id"],
        cidr=read["cidr"],
        name=read.get("name", ""),
        description=read.get("description", ""),
        gateway=read.get("gateway_ip"),
        dhcp=read.get("enable_dhcp", True),
        dns=tuple(read.get("dns_nameservers", ())),
        pools=None if pools is None else tuple(pools),
    )


def subnet_changes(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``update_subnet``. Raises ParseError and ValidationError."""
    read = SubnetChanges.read(_only(body, "subnet"))
    return {name: value for name, value in read.items() if name != "host_routes"}


def _only(body: dict[str, Any], name: str) -> Any:
    if set(body) != {name}:
        raise ParseError(f"Unable to find '{name}' in request body, or there is more than that.")
    return body[name]


def _owner(read: dict[str, Any], actor: Actor) -> str | None:
    owner = read.get("project_id", read.get("tenant_id"))
    if owner != read.get("tenant_id", owner):
        raise ParseError("'project_id' and 'tenant_id' do not match")
    if owner not in (None, actor.project_id) and not actor.is_admin:
        raise Forbidden("network:modify")
    return owner
