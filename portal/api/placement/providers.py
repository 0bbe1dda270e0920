"""Resource providers: the hosts, what they have, what is claimed, and by whom."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from compute.allocations import allocations
from compute.errors import NotFound
from compute.hosts.traits import traits_of
from compute.models import Host
from portal.api.compute.base import call
from portal.api.placement.base import PlacementView, generation, link
from portal.api.placement.query import uuid_of, wanted
from portal.api.placement.stock import resources, stocks
from portal.api.shape import Shape, field

_R = "placement:resource_providers:"
QUERY = {
    "name": "1.0", "uuid": "1.0", "member_of": "1.3", "resources": "1.4", "in_tree": "1.14", "required": "1.18",
}  # fmt: skip
# What hangs on a provider, and since when it is linked to.
PARTS = {"inventories": "1.0", "usages": "1.0", "aggregates": "1.1", "traits": "1.6", "allocations": "1.11"}


def _links(host: Host, view: PlacementView) -> list[dict[str, str]]:
    base = f"/resource_providers/{host.uuid}"
    parts = [link(name, f"{base}/{name}") for name, since in PARTS.items() if view.at(since)]
    return [link("self", base), *parts]


PROVIDER: Shape[Host] = Shape(
    field("uuid", lambda host, view: str(host.uuid)),
    field("name", lambda host, view: host.name),
    field("generation", lambda host, view: generation(host.updated_at)),
    field("parent_provider_uuid", lambda host, view: None, since="1.14"),
    field("root_provider_uuid", lambda host, view: str(host.uuid), since="1.14"),
    field("links", _links),
)


class ResourceProviders(PlacementView):
    """/resource_providers"""

    @call(_R + "list", since="1.0")
    def get(self, request: Request) -> Response:
        """List the hosts as resource providers."""
        self.known_query(QUERY)
        rows = Host.objects.all()
        if (name := self.only("name")) is not None:
            rows = rows.filter(name=name)
        if (key := self.only("uuid")) is not None:
            rows = rows.filter(uuid=uuid_of(key, "uuid"))
        asked = wanted(self)
        fitting = [host for host in rows.prefetch_related("aggregates") if asked.fits(host, stocks(host))]
        return Response({"resource_providers": [PROVIDER.render(host, self.version, self) for host in fitting]})


class ResourceProvider(PlacementView):
    """/resource_providers/{uuid}"""

    @call(_R + "show", since="1.0")
    def get(self, request: Request, provider_id: str) -> Response:
        """Show a host as a resource provider."""
        return Response(PROVIDER.render(self.provider(provider_id), self.version, self))


class Inventories(PlacementView):
    """/resource_providers/{uuid}/inventories"""

    @call(_R + "inventories:list", since="1.0")
    def get(self, request: Request, provider_id: str) -> Response:
        """List what a host has, with what is kept back and the allocation ratios."""
        host = self.provider(provider_id)
        found = {name: stock.inventory() for name, stock in stocks(host).items()}
        return Response({"resource_provider_generation": generation(host.updated_at), "inventories": found})


class Inventory(PlacementView):
    """/resource_providers/{uuid}/inventories/{class}"""

    @call(_R + "inventories:show", since="1.0")
    def get(self, request: Request, provider_id: str, name: str) -> Response:
        """Show what a host has of one class."""
        host = self.provider(provider_id)
        stock = stocks(host).get(name)
        if stock is None:
            raise NotFound(f"No inventory of class {name} for {provider_id}")
        return Response({"resource_provider_generation": generation(host.updated_at), **stock.inventory()})


class Usages(PlacementView):
    """/resource_providers/{uuid}/usages"""

    @call(_R + "usages", since="1.0")
    def get(self, request: Request, provider_id: str) -> Response:
        """Show how much of a host is claimed."""
        host = self.provider(provider_id)
        found = {name: stock.used for name, stock in stocks(host).items()}
        return Response({"resource_provider_generation": generation(host.updated_at), "usages": found})


class Aggregates(PlacementView):
    """/resource_providers/{uuid}/aggregates"""

    @call(_R + "aggregates:list", since="1.1")
    def get(self, request: Request, provider_id: str) -> Response:
        """List the aggregates that a host is in."""
        host = self.provider(provider_id)
        body: dict[str, Any] = {"aggregates": [str(one.uuid) for one in host.aggregates.all()]}
        if self.at("1.19"):
            body["resource_provider_generation"] = generation(host.updated_at)
        return Response(body)


class Traits(PlacementView):
    """/resource_providers/{uuid}/traits"""

    @call(_R + "traits:list", since="1.6")
    def get(self, request: Request, provider_id: str) -> Response:
        """List what a host can do."""
        host = self.provider(provider_id)
        return Response(
            {"traits": sorted(traits_of(host)), "resource_provider_generation": generation(host.updated_at)}
        )


class Allocations(PlacementView):
    """/resource_providers/{uuid}/allocations"""

    @call(_R + "allocations:list", since="1.0")
    def get(self, request: Request, provider_id: str) -> Response:
        """List what each instance holds of a host."""
        host = self.provider(provider_id)
        found: dict[str, dict[str, Any]] = {}
        for one in allocations(host=host):
            found[str(one.instance_id)] = {"resources": resources(one.amounts)}
            if self.at("1.28"):
                found[str(one.instance_id)]["consumer_generation"] = generation(one.updated_at)
        return Response({"resource_provider_generation": generation(host.updated_at), "allocations": found})
