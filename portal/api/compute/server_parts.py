"""What hangs on a server: addresses, metadata, tags, volumes, security groups."""

from __future__ import annotations

from urllib.parse import quote

from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.instances import delete_metadata, set_metadata, set_tags
from compute.models import SecurityGroup
from portal.api.compute.base import ComputeView, call
from portal.api.compute.security_groups import group_body
from portal.api.compute.server_body import MetadataField, TagsField, check_metadata_item, check_tag
from portal.api.compute.server_shape import addresses_of
from portal.api.wire import HeadersOnly


class Addresses(ComputeView):
    """/servers/{id}/ips"""

    @call("os_compute_api:ips:index")
    def get(self, request: Request, server_id: str) -> Response:
        """List a server's addresses by network."""
        key = self.instance(server_id).id
        return Response({"addresses": addresses_of([key], extended=False).get(key, {})})


class AddressesOnNetwork(ComputeView):
    """/servers/{id}/ips/{network}"""

    @call("os_compute_api:ips:show")
    def get(self, request: Request, server_id: str, network: str) -> Response:
        """List a server's addresses on one network."""
        key = self.instance(server_id).id
        found = addresses_of([key], extended=False).get(key, {})
        if network not in found:
            raise NotFound(f"Instance is not a member of specified network {network}")
        return Response({network: found[network]})


class Metadata(ComputeView):
    """/servers/{id}/metadata"""

    @call("os_compute_api:server-metadata:index")
    def get(self, request: Request, server_id: str) -> Response:
        """List a server's metadata."""
        return Response({"metadata": self.instance(server_id).metadata})

    @call("os_compute_api:server-metadata:create")
    def post(self, request: Request, server_id: str) -> Response:
        """Add to a server's metadata."""
        return self._write(server_id, replace=False)

    @call("os_compute_api:server-metadata:update_all")
    def put(self, request: Request, server_id: str) -> Response:
        """Replace a server's metadata."""
        return self._write(server_id, replace=True)

    def _write(self, server_id: str, *, replace: bool) -> Response:
        instance = self.instance(server_id)
        if set(self.body) != {"metadata"}:
            raise ParseError("The body must hold 'metadata' and nothing else.")
        items = MetadataField().run_validation(self.body["metadata"])
        return Response({"metadata": set_metadata(self.actor, instance, items=items, replace=replace)})


class MetadataItem(ComputeView):
    """/servers/{id}/metadata/{key}"""

    @call("os_compute_api:server-metadata:show")
    def get(self, request: Request, server_id: str, key: str) -> Response:
        """Show one item of a server's metadata."""
        metadata = self.instance(server_id).metadata
        if key not in metadata:
            raise NotFound("Metadata item was not found")
        return Response({"meta": {key: metadata[key]}})

    @call("os_compute_api:server-metadata:update")
    def put(self, request: Request, server_id: str, key: str) -> Response:
        """Change or add one item of a server's metadata."""
        instance = self.instance(server_id)
        meta = self.body.get("meta")
        if set(self.body) != {"meta"} or not isinstance(meta, dict) or len(meta) != 1:
            raise ParseError("The body must hold 'meta' with one item and nothing else.")
        if set(meta) != {key}:
            raise ParseError("Request body and URI mismatch")
        check_metadata_item(key, meta[key])
        set_metadata(self.actor, instance, items=meta)
        return Response({"meta": meta})

    @call("os_compute_api:server-metadata:delete")
    def delete(self, request: Request, server_id: str, key: str) -> HeadersOnly:
        """Take one item out of a server's metadata."""
        delete_metadata(self.actor, self.instance(server_id), key=key)
        return HeadersOnly()


class Tags(ComputeView):
    """/servers/{id}/tags"""

    @call("os_compute_api:os-server-tags:index", since="2.26")
    def get(self, request: Request, server_id: str) -> Response:
        """List a server's tags."""
        return Response({"tags": self.instance(server_id).tags})

    @call("os_compute_api:os-server-tags:update_all", since="2.26")
    def put(self, request: Request, server_id: str) -> Response:
        """Replace a server's tags."""
        instance = self.instance(server_id)
        if set(self.body) != {"tags"}:
            raise ParseError("The body must hold 'tags' and nothing else.")
        tags = TagsField().run_validation(self.body["tags"])
        return Response({"tags": set_tags(self.actor, instance, tags=list(tags))})

    @call("os_compute_api:os-server-tags:delete_all", since="2.26")
    def delete(self, request: Request, server_id: str) -> HeadersOnly:
        """Take all tags off a server."""
        set_tags(self.actor, self.instance(server_id), tags=[])
        return HeadersOnly()


class Tag(ComputeView):
    """/servers/{id}/tags/{tag}"""

    @call("os_compute_api:os-server-tags:show", since="2.26")
    def get(self, request: Request, server_id: str, tag: str) -> HeadersOnly:
        """See whether a server has a tag: 204, or 404."""
        self._check_has(self.instance(server_id).tags, server_id, tag)
        return HeadersOnly()

    @call("os_compute_api:os-server-tags:update", since="2.26")
    def put(self, request: Request, server_id: str, tag: str) -> HeadersOnly:
        """Add a tag to a server: 201, or 204 when it has it already."""
        instance = self.instance(server_id)
        check_tag(tag)
        known = tag in instance.tags
        set_tags(self.actor, instance, tags=[*instance.tags, tag] if not known else instance.tags)
        answer = HeadersOnly(204 if known else 201)
        answer["Location"] = f"{self.base}/servers/{instance.id}/tags/{quote(tag, safe='')}"
        return answer

    @call("os_compute_api:os-server-tags:delete", since="2.26")
    def delete(self, request: Request, server_id: str, tag: str) -> HeadersOnly:
        """Take a tag off a server."""
        instance = self.instance(server_id)
        self._check_has(instance.tags, server_id, tag)
        set_tags(self.actor, instance, tags=[one for one in instance.tags if one != tag])
        return HeadersOnly()

    def _check_has(self, tags: list[str], server_id: str, tag: str) -> None:
        if tag not in tags:
            raise NotFound(f"Server {server_id} has no tag '{tag}'")


class VolumeAttachments(ComputeView):
    """/servers/{id}/os-volume_attachments"""

    @call("os_compute_api:os-volumes-attachments:index")
    def get(self, request: Request, server_id: str) -> Response:
        """List a server's volumes: none, as this cloud has no volumes."""
        self.known_query("limit", "offset")
        self.instance(server_id)
        return Response({"volumeAttachments": []})


class ServerSecurityGroups(ComputeView):
    """/servers/{id}/os-security-groups"""

    @call("os_compute_api:os-security-groups:list")
    def get(self, request: Request, server_id: str) -> Response:
        """List the security groups that a server wears."""
        instance = self.instance(server_id)
        rows = SecurityGroup.objects.filter(ports__instance=instance).prefetch_related("rules__remote_group").distinct()
        return Response({"security_groups": [group_body(row) for row in rows]})


class ServerPassword(ComputeView):
    """/servers/{id}/os-server-password"""

    @call("os_compute_api:os-server-password:show")
    def get(self, request: Request, server_id: str) -> Response:
        """Show the password that the guest has made up and encrypted with its key pair: empty, as none can tell."""
        self.instance(server_id)
        return Response({"password": ""})

    @call("os_compute_api:os-server-password:clear")
    def delete(self, request: Request, server_id: str) -> HeadersOnly:
        """Forget the password that the guest has told."""
        self.instance(server_id)
        return HeadersOnly()
