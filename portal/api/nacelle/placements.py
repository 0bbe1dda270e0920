"""Why a server is where it is, where one would go, and how much room there is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute import placements
from compute.capacity import Capacity, capacity
from compute.errors import NotFound
from compute.models import Instance
from compute.placements import Explained, Outlook, Wish, dry_run
from portal.api.body import Body, StrictBooleanField, StrictCharField, StrictIntegerField
from portal.api.compute.hints import check_hints
from portal.api.wire import ApiView
from portal.identity.policy import allows
from scheduler.hoststate import HostView

MOST_AT_ONCE = 1000


class Placement(ApiView):
    """The placement of a server."""

    @extend_schema(operation_id="explain_placement", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, server_id: UUID) -> Response:
        """Say why a server is where it is: a sentence and counts; verdicts and weights for administrators."""
        rows = Instance.objects.visible_to(self.actor, all_projects=True)
        instance = rows.filter(pk=server_id).first()
        if instance is None:
            raise NotFound(f"Instance {server_id} could not be found.")
        return Response({"placements": [_explained(one) for one in placements.placements_of(self.actor, instance)]})


def _explained(one: Explained) -> dict[str, Any]:
    body = {
        "action": one.action.operation,
        "request_id": one.action.request_id,
        "found": one.found,
        "sentence": one.sentence,
        "considered": one.considered,
        "filters": [{"name": filter.name, "into": filter.into, "out": filter.out} for filter in one.filters],
    }
    if not one.sees_hosts:
        return body
    return body | {
        "chosen": one.chosen,
        "rejected": [why for filter in one.filters for why in filter.refused],
        "weights": one.finalists,
        "notes": one.notes,
        "failures": one.failures,
    }


class HintsField(serializers.JSONField):
    """Scheduler hints, as in POST /servers."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Refuse what is not in a hint's form."""
        check_hints(data)
        return dict(data)


class DryRunBody(Body):
    """Servers that nobody asks for yet."""

    flavor = StrictCharField(max_length=255, help_text="The flavor's id.")
    image = StrictCharField(max_length=255, required=False, default="", help_text="The image's id.")
    zone = StrictCharField(max_length=255, required=False, default="", help_text="Default: any.")
    host = StrictCharField(max_length=255, required=False, default="", help_text="For administrators.")
    forced = StrictBooleanField(required=False, default=False, help_text="Onto that host whatever the filters say.")
    count = StrictIntegerField(required=False, default=1, min_value=1, max_value=MOST_AT_ONCE)
    hints = HintsField(required=False, default=dict, help_text="Scheduler hints, as in POST /servers.")


class DryRun(ApiView):
    """The placement of servers that nobody asks for yet."""

    @extend_schema(operation_id="dry_run_placement", request=DryRunBody, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request) -> Response:
        """Say where servers would go and how many more fit; nothing is claimed."""
        given = DryRunBody.read(self.body)
        wish = Wish(flavor_id=given.pop("flavor"), image_id=given.pop("image"), **given)
        outlook = dry_run(self.actor, wish)
        return Response({"dry_run": _outlook(outlook, allows(self.actor, placements.SEE_HOSTS))})


def _outlook(outlook: Outlook, sees_hosts: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "count": outlook.count,
        "fits": outlook.fits,
        "fitting": outlook.fitting,
        "quota_leaves": outlook.quota_leaves,
        "sentence": outlook.sentence,
        "zones": [{"name": name, "fitting": fitting} for name, fitting in outlook.by_zone.items()],
    }
    if not sees_hosts:
        return body
    found = outlook.evaluation
    hosts = [{"name": host.name, "zone": host.zone, "fitting": found.rooms[host.id]} for host in found.hosts]
    return body | {"hosts": hosts, "explanation": found.explanation.as_json()}


class CapacityView(ApiView):
    """The room that there is."""

    @extend_schema(operation_id="show_capacity", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Show how many servers of each flavor still fit, by zone and in all, and how full the hosts are."""
        return Response({"capacity": _capacity(capacity(self.actor))})


def _capacity(found: Capacity) -> dict[str, Any]:
    flavors = [
        {"id": room.flavor.id, "name": room.flavor.name, "fitting": room.total, "zones": room.by_zone}
        for room in found.rooms
    ]
    return {"zones": found.zones, "flavors": flavors, "hosts": [_host(host) for host in found.hosts]}


def _host(host: HostView) -> dict[str, Any]:
    return {
        "name": host.name,
        "zone": host.zone,
        "up": host.up,
        "enabled": host.enabled,
        "instances": host.instances,
        "vcpus": _fill(host.vcpus_used, host.vcpu_capacity, host.cpu_ratio),
        "memory_mb": _fill(host.memory_used_mb, host.memory_capacity_mb, host.memory_ratio),
        "disk_gb": _fill(host.disk_used_gb, host.disk_capacity_gb, host.disk_ratio),
    }


def _fill(used: int, capacity: float, ratio: float) -> dict[str, float]:
    return {"used": used, "capacity": int(capacity), "ratio": ratio}
