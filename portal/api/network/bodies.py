"""Bodies of the Network API: closed objects, as Neutron's."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ParseError

from compute.networks.ports import FixedAddress, PortRequest
from portal.api.body import AddressText, Body, StrictBooleanField, StrictCharField, UUIDText
from portal.identity.actor import Actor
from portal.identity.policy import Forbidden


class Owned(Body):
    """What belongs to a project: an administrator may name another."""

    name = StrictCharField(max_length=255, required=False, allow_blank=True, default="", trim_whitespace=False)
    description = StrictCharField(max_length=255, required=False, allow_blank=True, default="", trim_whitespace=False)
    project_id = StrictCharField(max_length=64, required=False)
    tenant_id = StrictCharField(max_length=64, required=False)


class FixedBody(Body):
    """One wanted address."""

    subnet_id = UUIDText(required=False)
    ip_address = AddressText(required=False)


class PortBody(Owned):
    """A port to make."""

    network_id = UUIDText()
    admin_state_up = StrictBooleanField(required=False, default=True)
    mac_address = StrictCharField(max_length=17, required=False)
    fixed_ips = FixedBody(many=True, required=False)
    security_groups = serializers.ListField(child=UUIDText(), required=False, max_length=50)
    binding__vnic_type = serializers.ChoiceField(choices=["normal"], required=False)

    def get_fields(self) -> dict[str, Any]:
        """With the name that Python cannot spell."""
        fields = super().get_fields()
        fields["binding:vnic_type"] = fields.pop("binding__vnic_type")
        return fields


class GroupBody(Owned):
    """A security group to make."""

    stateful = serializers.ChoiceField(choices=[True], required=False)


def port_of(body: dict[str, Any], actor: Actor) -> PortRequest:
    """The port that a body asks for. Raises ParseError, ValidationError and Forbidden."""
    read = PortBody.read(_only(body, "port"))
    fixed = read.get("fixed_ips")
    if fixed is not None and len(fixed) > 5:
        raise ParseError("Exceeded maximum amount of fixed ips per port: 5.")
    groups = read.get("security_groups")
    return PortRequest(
        network_id=read["network_id"],
        name=read["name"],
        description=read["description"],
        admin_state_up=read["admin_state_up"],
        fixed=None
        if fixed is None
        else tuple(FixedAddress(one.get("subnet_id"), one.get("ip_address")) for one in fixed),
        groups=None if groups is None else tuple(groups),
        mac=read.get("mac_address"),
        owner=_owner(read, actor),
    )


def group_of(body: dict[str, Any], actor: Actor) -> dict[str, Any]:
    """Keywords of ``create_group``. Raises ParseError, ValidationError and Forbidden."""
    read = GroupBody.read(_only(body, "security_group"))
    return {"name": read["name"], "description": read["description"], "owner": _owner(read, actor)}


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
