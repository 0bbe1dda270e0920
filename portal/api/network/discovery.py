"""What the Network API says of itself: versions, resources, extensions, zones, agents and quotas."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from compute.networks import quota
from compute.networks.errors import ExtensionsNotFound
from portal.api.network.resources import NETWORKS, PORTS, SECURITY_GROUP_RULES, SECURITY_GROUPS, SUBNETS, ZONE
from portal.api.network.views import NetworkApiView
from portal.identity.policy import enforce

RESOURCES = (NETWORKS, SUBNETS, PORTS, SECURITY_GROUPS, SECURITY_GROUP_RULES)
UPDATED = "2026-11-20T00:00:00-00:00"
# Alias, name, sentence. Clients switch features on by the alias, so each of these is true.
EXTENSIONS = (
    ("agent", "agent", "Lists the agents; there are none."),
    ("availability_zone", "Availability Zone", "Lists the zones of networks."),
    ("binding", "Port Binding", "Shows where a port is plugged in."),
    ("external-net", "Neutron external network", "Shows whether a network leads outside."),
    ("filter-validation", "Filter parameters validation", "Refuses filters that there are not."),
    ("ip-substring-filtering", "IP address substring filtering", "Finds ports by a part of an address."),
    ("net-mtu", "Network MTU", "Shows the MTU of a network."),
    ("network_availability_zone", "Network Availability Zone", "Shows the zones of a network."),
    ("pagination", "Pagination support", "Lists in pages."),
    ("project-id", "project_id field enabled", "Names the owner project_id besides tenant_id."),
    ("quota_details", "Quota details management support", "Shows what of a quota is used."),
    ("quotas", "Quota management support", "Shows quotas."),
    ("security-group", "security-group", "Security groups."),
    ("sorting", "Sorting support", "Lists in an order of the caller's."),
    ("standard-attr-description", "standard-attr-description", "Resources have a description."),
    ("standard-attr-timestamp", "Resource timestamps", "Resources say when they were made and changed."),
)


def _extension(alias: str, name: str, description: str) -> dict[str, Any]:
    return {"alias": alias, "name": name, "description": description, "updated": UPDATED, "links": []}


class Versions(NetworkApiView):
    """/network and /network/. Needs no token."""

    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request) -> Response:
        """One version."""
        link = {"rel": "self", "href": f"{settings.PUBLIC_URL}/network/v2.0/"}
        return Response({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]})


class VersionDetails(NetworkApiView):
    """/v2.0/."""

    def get(self, request: Request) -> Response:
        """The resources."""
        return Response({"resources": [_entry(one.name, one.collection) for one in RESOURCES]})


def _entry(name: str, collection: str) -> dict[str, Any]:
    href = f"{settings.PUBLIC_URL}/network/v2.0/{collection.replace('_', '-')}"
    return {"name": name, "collection": collection, "links": [{"rel": "self", "href": href}]}


class Extensions(NetworkApiView):
    """/v2.0/extensions."""

    def get(self, request: Request) -> Response:
        """List."""
        return Response({"extensions": [_extension(*one) for one in EXTENSIONS]})


class OneExtension(NetworkApiView):
    """/v2.0/extensions/{alias}."""

    def get(self, request: Request, alias: str) -> Response:
        """Show."""
        for one in EXTENSIONS:
            if one[0] == alias:
                return Response({"extension": _extension(*one)})
        raise ExtensionsNotFound(f"Extensions not found: ['{alias[:64]}'].")


class AvailabilityZones(NetworkApiView):
    """/v2.0/availability_zones."""

    def get(self, request: Request) -> Response:
        """The one zone of networks."""
        enforce(self.actor, "network:get")
        return Response({"availability_zones": [{"name": ZONE, "resource": "network", "state": "available"}]})


class Agents(NetworkApiView):
    """/v2.0/agents: hosts run libvirtd and nothing else."""

    def get(self, request: Request) -> Response:
        """None."""
        enforce(self.actor, "network:get")
        return Response({"agents": []})


class Quotas(NetworkApiView):
    """/v2.0/quotas: the projects whose limits differ from the defaults. None, so far."""

    def get(self, request: Request) -> Response:
        """List, for administrators."""
        enforce(self.actor, "network:quotas")
        return Response({"quotas": []})


class ProjectQuota(NetworkApiView):
    """/v2.0/quotas/{project} and its ``default``."""

    def get(self, request: Request, project_id: str) -> Response:
        """The limits; -1 is no limit."""
        enforce(self.actor, "network:get", project_id)
        return Response({"quota": quota.LIMITS})


class QuotaDetails(NetworkApiView):
    """/v2.0/quotas/{project}/details."""

    def get(self, request: Request, project_id: str) -> Response:
        """The limits and what of them is used."""
        enforce(self.actor, "network:get", project_id)
        details = {
            name: {"limit": limit, "used": quota.used(name, project_id), "reserved": 0}
            for name, limit in quota.LIMITS.items()
        }
        return Response({"quota": details})
