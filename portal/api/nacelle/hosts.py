"""Nacelle's own additions: the hosts, for administrators."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.hosts.checks import check_host, last_check
from compute.hosts.editing import edit_host
from compute.hosts.registration import add_host
from compute.hosts.removal import remove_host
from compute.hosts.tls_script import tls_script
from compute.models import Host, HostCheck
from portal.api.body import Body, StrictCharField, StrictFloatField, StrictIntegerField
from portal.api.nacelle.fencing import host_of
from portal.api.wire import ApiView
from portal.identity.policy import enforce

# What holds a key is nobody's to keep on the way.
NEVER_KEPT = {"Cache-Control": "no-store, private"}


class HostBody(Body):
    """A host to register."""

    uri = StrictCharField(max_length=255, help_text="A libvirt URI, such as qemu+ssh://root@host/system.")
    name = StrictCharField(max_length=255, required=False, default="", help_text="Default: the host's own name.")
    domain_type = serializers.ChoiceField(
        choices=["kvm", "qemu"], required=False, help_text="Default: what the host's processors can do."
    )


class HostChange(Body):
    """What can be changed about a host."""

    name = StrictCharField(max_length=255, required=False)
    uri = StrictCharField(max_length=255, required=False, help_text="Another way to the same machine.")
    domain_type = serializers.ChoiceField(
        choices=["", "kvm", "qemu"], required=False, help_text="Empty: what the host's processors can do."
    )
    console_address = StrictCharField(
        max_length=255, required=False, help_text="Where guests' screens listen from their next start on."
    )
    migration_address = StrictCharField(
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="Where other hosts reach it. Empty: as its URI says.",
    )
    cpu_ratio = StrictFloatField(required=False, help_text="Overcommit, unless an aggregate says another.")
    memory_ratio = StrictFloatField(required=False)
    disk_ratio = StrictFloatField(required=False)
    reserved_memory_mb = StrictIntegerField(required=False, min_value=0, help_text="Kept back for the host itself.")
    reserved_disk_gb = StrictIntegerField(required=False, min_value=0)


class TlsScriptBody(Body):
    """Whom the certificate is for."""

    address = StrictCharField(max_length=253, help_text="The name or address that the host's URI will have.")


class CheckAnswer(serializers.Serializer[HostCheck]):
    """The last check of a host."""

    at = serializers.DateTimeField()
    findings = serializers.ListField(
        child=serializers.DictField(),
        help_text="The worst first: severity (error, warning, info), about, sentence, what_to_do.",
    )
    details = serializers.JSONField(help_text="The machine, its pools, networks, kinds of machines, CPU and clock.")


class HostAnswer(serializers.Serializer[Host]):
    """A host."""

    id = serializers.UUIDField(source="uuid")
    name = serializers.CharField()
    uri = serializers.CharField()
    zone = serializers.CharField()
    domain_type = serializers.CharField(help_text="Empty: as the facts say.")
    console_address = serializers.CharField()
    migration_address = serializers.CharField(help_text="Empty: as the URI says.")
    machine_id = serializers.UUIDField(source="machine_uuid", allow_null=True, help_text="As libvirt on it says.")
    state = serializers.CharField(source="state_now")
    state_reason = serializers.CharField(source="why_down")
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
    cpu_ratio = serializers.FloatField()
    memory_ratio = serializers.FloatField()
    disk_ratio = serializers.FloatField()
    reserved_memory_mb = serializers.IntegerField()
    reserved_disk_gb = serializers.IntegerField()
    check = serializers.SerializerMethodField(help_text="Null if it was never checked.")

    @extend_schema_field(CheckAnswer)
    def get_check(self, host: Host) -> dict[str, Any] | None:
        """The last one."""
        return CheckAnswer(host.last_check).data if hasattr(host, "last_check") else None


_ONE = inline_serializer("OneHost", {"host": HostAnswer()})
_CHECK = inline_serializer("OneCheck", {"check": CheckAnswer()})
_ALL = inline_serializer("AllHosts", {"hosts": HostAnswer(many=True)})


class Hosts(ApiView):
    """The compute hosts."""

    @extend_schema(operation_id="list_hosts", responses=_ALL)
    def get(self, request: Request) -> Response:
        """List the hosts with their facts and claims."""
        enforce(self.actor, "nacelle:hosts")
        return Response({"hosts": [HostAnswer(host).data for host in Host.objects.select_related("last_check")]})

    @extend_schema(operation_id="add_host", request=HostBody, responses={201: _ONE})
    def post(self, request: Request) -> Response:
        """Register the host at a libvirt URI."""
        enforce(self.actor, "nacelle:host-add")
        host = add_host(self.actor, **HostBody.read(self.body))
        return Response({"host": HostAnswer(host).data}, status=201)


class Check(ApiView):
    """Checks of one host."""

    @extend_schema(operation_id="check_host", request=None, responses=_CHECK)
    def post(self, request: Request, host_id: UUID) -> Response:
        """Look at a host again, and make what is missing there."""
        enforce(self.actor, "nacelle:host-check")
        host = host_of(host_id)
        check_host(self.actor, host)
        return Response({"check": CheckAnswer(last_check(host)).data})


class TlsScript(ApiView):
    """The script that lets this cloud in to a host over TLS."""

    @extend_schema(
        operation_id="make_tls_script", request=TlsScriptBody, responses={(200, "text/x-shellscript"): OpenApiTypes.STR}
    )
    def post(self, request: Request) -> HttpResponse:
        """Make a host's certificate, in the one script that is to run on the host."""
        enforce(self.actor, "nacelle:host-certificates")
        script = tls_script(self.actor, TlsScriptBody.read(self.body)["address"])
        return HttpResponse(script, content_type="text/x-shellscript; charset=utf-8", headers=NEVER_KEPT)


class OneHost(ApiView):
    """One host."""

    @extend_schema(operation_id="show_host", responses=_ONE)
    def get(self, request: Request, host_id: UUID) -> Response:
        """Show a host with its facts and claims."""
        enforce(self.actor, "nacelle:hosts")
        return Response({"host": HostAnswer(host_of(host_id)).data})

    @extend_schema(operation_id="update_host", request=HostChange, responses=_ONE)
    def patch(self, request: Request, host_id: UUID) -> Response:
        """Change a host's name, the way to it, its overcommit and what is kept back."""
        enforce(self.actor, "nacelle:host-edit")
        edit_host(self.actor, host_of(host_id), HostChange.read(self.body))
        return Response({"host": HostAnswer(host_of(host_id)).data})

    @extend_schema(operation_id="remove_host", responses={204: None})
    def delete(self, request: Request, host_id: UUID) -> Response:
        """Remove a host on which there is no server; the machine is left as it is."""
        enforce(self.actor, "nacelle:host-remove")
        remove_host(self.actor, host_of(host_id))
        return Response(status=204)
