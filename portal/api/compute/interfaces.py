"""A server's network cards: list, show, attach, detach."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.models import Port
from compute.operations.engine import request as request_operation
from compute.operations.interfaces import AttachInterface, DetachInterface
from portal.api.body import AddressText, Body, StrictCharField, UUIDText
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.compute.server_body import check_tag
from portal.api.shape import Shape, field
from portal.api.wire import HeadersOnly

INTERFACE: Shape[Port] = Shape(
    field("port_id", lambda row, view: str(row.id)),
    field("net_id", lambda row, view: str(row.network_id)),
    field("mac_addr", lambda row, view: row.mac),
    field("port_state", lambda row, view: row.status),
    field("fixed_ips", lambda row, view: [
        {"subnet_id": str(one.subnet_id), "ip_address": one.address} for one in row.addresses.all()
    ]),
    field("tag", lambda row, view: row.tag or None, since="2.70"),
)  # fmt: skip
SHAPES = (INTERFACE,)


class AddressBody(Body):
    """One of ``fixed_ips``."""

    ip_address = AddressText()


class AttachBody(Body):
    """What ``interfaceAttachment`` holds."""

    net_id = UUIDText(required=False)
    port_id = UUIDText(required=False, allow_null=True)
    fixed_ips = serializers.ListField(child=AddressBody(), required=False, min_length=1, max_length=1)
    tag = StrictCharField(required=False)
    since = {"tag": "2.49"}

    def validate_tag(self, tag: str) -> str:
        """As a server's tags."""
        check_tag(tag)
        return tag

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """One way of saying which card, with Nova's sentences."""
        if data.get("port_id") and data.get("net_id"):
            raise ValidationError("Must not input both network_id and port_id")
        if data.get("fixed_ips") and not data.get("net_id"):
            raise ValidationError("Must input network_id when request IP address")
        return data


class Interfaces(ComputeView):
    """/servers/{id}/os-interface"""

    @call("os_compute_api:os-attach-interfaces:list")
    def get(self, request: Request, server_id: str) -> Response:
        """List a server's network cards."""
        rows = self.instance(server_id).ports.prefetch_related("addresses").order_by("position", "id")
        return Response({"interfaceAttachments": [INTERFACE.render(row, self.version, self) for row in rows]})

    @call("os_compute_api:os-attach-interfaces:create")
    def post(self, request: Request, server_id: str) -> Response:
        """Give a server another network card, on a network or a port of the caller's; a running one gets it at once."""
        instance = self.instance(server_id)
        if set(self.body) - {"interfaceAttachment"}:
            raise ParseError("The body must hold 'interfaceAttachment' and nothing else.")
        data = AttachBody.read(self.body.get("interfaceAttachment", {}), self.version)
        action = request_operation(AttachInterface, instance, self.actor, **_params(data))
        row = Port.objects.prefetch_related("addresses").get(pk=action.params["port_id"])
        return Response({"interfaceAttachment": INTERFACE.render(row, self.version, self)})


def _params(data: dict[str, Any]) -> dict[str, Any]:
    """The parameters of the operation, which are kept as JSON."""
    named = {name: str(data[key]) for name, key in (("network_id", "net_id"), ("port_id", "port_id")) if data.get(key)}
    if data.get("fixed_ips"):
        named["address"] = data["fixed_ips"][0]["ip_address"]
    return named | ({"tag": data["tag"]} if "tag" in data else {})


class Interface(ComputeView):
    """/servers/{id}/os-interface/{port}"""

    @call("os_compute_api:os-attach-interfaces:show")
    def get(self, request: Request, server_id: str, port_id: str) -> Response:
        """Show a server's network card."""
        return Response({"interfaceAttachment": INTERFACE.render(self._port(server_id, port_id), self.version, self)})

    @call("os_compute_api:os-attach-interfaces:delete")
    def delete(self, request: Request, server_id: str, port_id: str) -> HeadersOnly:
        """Take a network card from a server; a running one lets go of it first."""
        port = self._port(server_id, port_id)
        request_operation(DetachInterface, self.instance(server_id), self.actor, port_id=str(port.pk))
        return HeadersOnly(202)

    def _port(self, server_id: str, port_id: str) -> Port:
        """The port of the path, if it is the server's. Raises NotFound."""
        uuid = as_uuid(port_id)
        row = self.instance(server_id).ports.filter(pk=uuid).first() if uuid else None
        if row is None:
            raise NotFound(f"Instance {server_id} does not have a port with id {port_id}")
        return row
