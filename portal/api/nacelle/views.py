"""Nacelle's own additions: hosts."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.hosts.registration import add_host
from compute.models import Host
from portal.api.body import Body, StrictCharField
from portal.api.wire import ApiView
from portal.identity.policy import enforce


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its registry is untyped
    """How the schema names the token."""

    target_class = "portal.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A header."""
        return {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}


class HostBody(Body):
    """A host to register."""

    uri = StrictCharField(max_length=255, help_text="A libvirt URI, such as qemu+ssh://root@host/system.")
    name = StrictCharField(max_length=255, required=False, default="", help_text="Default: the host's own name.")
    domain_type = serializers.ChoiceField(
        choices=["kvm", "qemu"], required=False, help_text="Default: what the host's processors can do."
    )


class HostAnswer(serializers.Serializer[Host]):
    """A host."""

    id = serializers.UUIDField(source="uuid")
    name = serializers.CharField()
    uri = serializers.CharField()
    zone = serializers.CharField()
    state = serializers.CharField()
    state_reason = serializers.CharField()
    enabled = serializers.BooleanField()
    disabled_reason = serializers.CharField()
    last_seen_at = serializers.DateTimeField()
    facts = serializers.JSONField()
    vcpus = serializers.IntegerField()
    vcpus_used = serializers.IntegerField()
    memory_mb = serializers.IntegerField()
    memory_mb_used = serializers.IntegerField()
    disk_gb = serializers.IntegerField()
    disk_gb_used = serializers.IntegerField()
    instances = serializers.IntegerField(source="instances_used")


class Hosts(ApiView):
    """The compute hosts."""

    @extend_schema(operation_id="list_hosts", responses=HostAnswer(many=True))
    def get(self, request: Request) -> Response:
        """List the hosts with their facts and claims."""
        enforce(self.actor, "nacelle:hosts")
        return Response({"hosts": [HostAnswer(host).data for host in Host.objects.all()]})

    @extend_schema(operation_id="add_host", request=HostBody, responses={201: HostAnswer})
    def post(self, request: Request) -> Response:
        """Register the host at a libvirt URI."""
        enforce(self.actor, "nacelle:host-add")
        host = add_host(self.actor, **HostBody.read(self.body))
        return Response({"host": HostAnswer(host).data}, status=201)
