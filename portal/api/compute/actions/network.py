"""addFixedIp, removeFixedIp, addSecurityGroup, removeSecurityGroup: what changes about a server's network cards."""

from __future__ import annotations

from compute.models import Instance
from compute.networks import worn
from compute.operations.engine import request as request_operation
from compute.operations.interfaces import AddFixedIp, RemoveFixedIp
from portal.api.body import AddressText, Body, StrictCharField, UUIDText
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.wire import HeadersOnly


class AddFixedIpBody(Body):
    """What ``addFixedIp`` takes."""

    networkId = UUIDText()


class RemoveFixedIpBody(Body):
    """What ``removeFixedIp`` takes."""

    address = AddressText()


class GroupBody(Body):
    """What ``addSecurityGroup`` and ``removeSecurityGroup`` take: a name or an id."""

    name = StrictCharField(min_length=1, max_length=255)


def add_fixed_ip(view: ComputeView, instance: Instance, argument: object) -> Answer:
    """Give a network card of the server another address of its network (up to 2.43)."""
    data = AddFixedIpBody.read(object_of(argument, "addFixedIp"), view.version)
    request_operation(AddFixedIp, instance, view.actor, network_id=str(data["networkId"]))
    return HeadersOnly(202)


def remove_fixed_ip(view: ComputeView, instance: Instance, argument: object) -> Answer:
    """Take an address from a network card of the server (up to 2.43)."""
    data = RemoveFixedIpBody.read(object_of(argument, "removeFixedIp"), view.version)
    request_operation(RemoveFixedIp, instance, view.actor, address=data["address"])
    return HeadersOnly(202)


def add_group(view: ComputeView, instance: Instance, argument: object) -> Answer:
    """Have every network card of the server wear a security group."""
    data = GroupBody.read(object_of(argument, "addSecurityGroup"), view.version)
    worn.put_on(view.actor, instance, name=data["name"])
    return HeadersOnly(202)


def remove_group(view: ComputeView, instance: Instance, argument: object) -> Answer:
    """Have the server's network cards wear a security group no more."""
    data = GroupBody.read(object_of(argument, "removeSecurityGroup"), view.version)
    worn.take_off(view.actor, instance, name=data["name"])
    return HeadersOnly(202)
