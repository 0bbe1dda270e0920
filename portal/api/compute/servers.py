"""Servers: create, list, show, change, delete."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.instances import check_metadata_count, update_instance
from compute.operations.create import create
from compute.operations.delete import Delete
from compute.operations.engine import request as request_operation
from portal.api.compute import server_shape as shape
from portal.api.compute.base import ComputeView, call
from portal.api.compute.passwords import admin_password, told
from portal.api.compute.server_body import UpdateBody, boot_request
from portal.api.compute.server_query import ServerQuery
from portal.api.paging import next_link
from portal.api.wire import HeadersOnly

# The wire's name of a field of PUT, and the model's.
UPDATES = {
    "name": "name",
    "description": "description",
    "hostname": "hostname",
    "accessIPv4": "access_ipv4",
    "accessIPv6": "access_ipv6",
    "OS-DCF:diskConfig": "disk_config",
}


class Servers(ComputeView):
    """/servers"""

    @call("os_compute_api:servers:index")
    def get(self, request: Request) -> Response:
        """List servers: ids, names and links."""
        rows, limit = ServerQuery(self).page()
        found = list(rows.values_list("id", "name"))
        servers = [{"id": str(key), "name": name, "links": self.links("servers", key)} for key, name in found]
        return Response(_with_link(self, {"servers": servers}, [key for key, _ in found], limit))

    @call("os_compute_api:servers:create")
    def post(self, request: Request) -> Response:
        """Create a server, or several."""
        wanted, data = boot_request(self.body, self.version)
        check_metadata_count(self.actor.project_id or "", wanted.metadata)
        password = admin_password(data)
        instances = create(self.actor, replace(wanted, admin_password=password))
        first = instances[0]
        if data.get("return_reservation_id"):
            return Response({"reservation_id": first.reservation_id}, status=202)
        body = {
            "id": str(first.id),
            "links": self.links("servers", first.id),
            "OS-DCF:diskConfig": first.disk_config,
            "security_groups": [{"name": name} for name in wanted.security_groups or ("default",)],
            **told(password),
        }
        return Response({"server": body}, status=202, headers={"Location": f"{self.base}/servers/{first.id}"})


class ServersDetail(ComputeView):
    """/servers/detail"""

    @call("os_compute_api:servers:detail")
    def get(self, request: Request) -> Response:
        """List servers with everything that a list shows."""
        query, limit = ServerQuery(self).page()
        rows = list(query)
        page = shape.page_of(self, rows)
        return Response(
            _with_link(self, {"servers": [shape.full(row, page) for row in rows]}, [row.id for row in rows], limit)
        )


class Server(ComputeView):
    """/servers/{id}"""

    @call("os_compute_api:servers:show")
    def get(self, request: Request, server_id: str) -> Response:
        """Show a server."""
        row = self.instance(server_id)
        return Response({"server": shape.alone(row, shape.page_of(self, [row]))})

    @call("os_compute_api:servers:update")
    def put(self, request: Request, server_id: str) -> Response:
        """Change a server's name, description, host name or access addresses."""
        row = self.instance(server_id)
        if set(self.body) != {"server"}:
            raise ParseError("The body must hold 'server' and nothing else.")
        data = UpdateBody.read(self.body["server"], self.version)
        fields = {UPDATES[name]: value for name, value in data.items()}
        update_instance(self.actor, row, fields=fields)
        whole = self.at("2.75")
        page = shape.page_of(self, [row], extended_addresses=whole)
        body = shape.alone(row, page) if whole else shape.brief(row, page) | shape.ALONE.render(row, self.version, page)
        return Response({"server": body})

    @call("os_compute_api:servers:delete")
    def delete(self, request: Request, server_id: str) -> HeadersOnly:
        """Delete a server."""
        request_operation(Delete, self.instance(server_id), self.actor)
        return HeadersOnly()


def _with_link(view: ComputeView, body: dict[str, Any], keys: list[Any], limit: int) -> dict[str, Any]:
    """Add the link to the next page when this one is full."""
    if keys and len(keys) == limit:
        body["servers_links"] = [next_link(view.request.path, view.request.query_params, str(keys[-1]))]
    return body
