"""Neutron's API v2.0: lists and single resources, and what of them can be made, changed and deleted."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Model, QuerySet
from django.http import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.models import Network, Port, SecurityGroup, SecurityGroupRule, Subnet
from compute.networks import errors, groups, networks, ports, subnets
from portal.api.network import bodies
from portal.api.network.query import Page, Resource, fields_of, page_of, uuids
from portal.api.network.resources import NETWORKS, PORTS, SECURITY_GROUP_RULES, SECURITY_GROUPS, SUBNETS
from portal.api.wire import ApiView, HeadersOnly
from portal.identity.models import Project
from portal.identity.policy import enforce

Row = TypeVar("Row", bound=Model)


class NetworkApiView(ApiView):
    """A view of the Network API."""

    form = "network"


class ResourceView(NetworkApiView, Generic[Row]):
    """A kind of resource: which rows the caller sees, and how they are written."""

    resource: ClassVar[Resource[Any]]
    missing: ClassVar[type[NotFound]]
    sentence: ClassVar[str]

    def visible(self) -> QuerySet[Row]:
        """The rows that the caller may see, with what they are written from."""
        raise NotImplementedError

    def row(self, text: str) -> Row:
        """The row of the path. Raises the resource's own NotFound."""
        enforce(self.actor, "network:get")
        row = self.visible().filter(pk__in=uuids([text])).first()
        if row is None:
            raise self.missing(self.sentence.format(text[:64]))
        return row

    def rendered(self, row: Row, status: int = 200) -> Response:
        """One resource."""
        fields = fields_of(self.request.query_params)
        return Response({self.resource.name: self.resource.render(row, self.actor, fields)}, status=status)


class ListView(ResourceView[Row]):
    """GET of a collection."""

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """A page of what the query asks for."""
        enforce(self.actor, "network:get")
        query, visible = request.query_params, self.visible()
        rows = self.resource.filtered(visible, query, self.actor)
        page = page_of(rows, query, self.resource.order(query), visible)
        fields = fields_of(query)
        body: dict[str, Any] = {
            self.resource.collection: [self.resource.render(row, self.actor, fields) for row in page.rows]
        }
        if links := self._links(page):
            body[f"{self.resource.collection}_links"] = links
        return Response(body)

    def _links(self, page: Page[Row]) -> list[dict[str, str]]:
        """To the next page, and to the one before a marker."""
        if not page.rows or "limit" not in self.request.query_params:
            return []
        links = []
        if page.more or page.backwards:
            links.append({"rel": "next", "href": self._href(page.rows[-1], False)})
        if self.request.query_params.get("marker") and (page.more or not page.backwards):
            links.append({"rel": "previous", "href": self._href(page.rows[0], True)})
        return links

    def _href(self, marker: Row, backwards: bool) -> str:
        left_out = ("marker", "page_reverse")
        pairs = [
            (name, value)
            for name, values in self.request.query_params.lists()
            for value in values
            if name not in left_out
        ]
        pairs.append(("marker", str(marker.pk)))
        if backwards:
            pairs.append(("page_reverse", "True"))
        return f"{settings.PUBLIC_URL}{self.request.path}?{urlencode(pairs)}"


class NetworkView(ResourceView[Network]):
    """Networks: shared ones and the project's own."""

    resource = NETWORKS
    missing, sentence = errors.NetworkNotFound, "Network {} could not be found."

    def visible(self) -> QuerySet[Network]:
        """With their subnets."""
        return Network.objects.visible_to(self.actor).prefetch_related("subnets")


class SubnetView(ResourceView[Subnet]):
    """Subnets of the networks that the caller sees."""

    resource = SUBNETS
    missing, sentence = errors.SubnetNotFound, "Subnet {} could not be found."

    def visible(self) -> QuerySet[Subnet]:
        """As their networks are."""
        if self.actor.is_admin:
            return Subnet.objects.all()
        return Subnet.objects.filter(network__in=Network.objects.visible_to(self.actor))


class PortView(ResourceView[Port]):
    """The project's own ports."""

    resource = PORTS
    missing, sentence = errors.PortNotFound, "Port {} could not be found."

    def visible(self) -> QuerySet[Port]:
        """With addresses, groups, and the host of the server."""
        rows = Port.objects.select_related("instance__host").prefetch_related("addresses", "security_groups")
        return rows if self.actor.is_admin else rows.filter(project_id=self.actor.project_id)


class SecurityGroupView(ResourceView[SecurityGroup]):
    """The project's own security groups."""

    resource = SECURITY_GROUPS
    missing, sentence = errors.SecurityGroupNotFound, "Security group {} does not exist"

    def visible(self) -> QuerySet[SecurityGroup]:
        """With their rules."""
        rows = SecurityGroup.objects.prefetch_related("rules")
        return rows if self.actor.is_admin else rows.filter(project_id=self.actor.project_id)


class SecurityGroupRuleView(ResourceView[SecurityGroupRule]):
    """The rules of the project's own groups."""

    resource = SECURITY_GROUP_RULES
    missing, sentence = errors.SecurityGroupRuleNotFound, "Security group rule {} does not exist"

    def visible(self) -> QuerySet[SecurityGroupRule]:
        """With their groups."""
        rows = SecurityGroupRule.objects.select_related("group")
        return rows if self.actor.is_admin else rows.filter(group__project_id=self.actor.project_id)


class Networks(NetworkView, ListView[Network]):
    """/v2.0/networks."""

    def post(self, request: Request) -> Response:
        """Make a network."""
        network = networks.create_network(actor=self.actor, wanted=bodies.network_of(self.body, self.actor))
        return self.rendered(self.row(str(network.pk)), status=201)


class OneNetwork(NetworkView):
    """/v2.0/networks/{id}."""

    def get(self, request: Request, pk: str) -> Response:
        """Show."""
        return self.rendered(self.row(pk))

    def put(self, request: Request, pk: str) -> Response:
        """Change a network's name, description or sharing."""
        networks.update_network(actor=self.actor, network=self.row(pk), fields=bodies.network_changes(self.body))
        return self.rendered(self.row(pk))

    def delete(self, request: Request, pk: str) -> HttpResponseBase:
        """Delete a network without ports, here and on the hosts."""
        networks.delete_network(actor=self.actor, network=self.row(pk))
        return HeadersOnly()


class Subnets(SubnetView, ListView[Subnet]):
    """/v2.0/subnets."""

    def post(self, request: Request) -> Response:
        """Give a network its subnet."""
        subnet = subnets.create_subnet(actor=self.actor, wanted=bodies.subnet_of(self.body, self.actor))
        return self.rendered(self.row(str(subnet.pk)), status=201)


class OneSubnet(SubnetView):
    """/v2.0/subnets/{id}."""

    def get(self, request: Request, pk: str) -> Response:
        """Show."""
        return self.rendered(self.row(pk))

    def put(self, request: Request, pk: str) -> Response:
        """Change a subnet's name, description or pools; what hosts know of it only while no server is plugged in."""
        subnets.update_subnet(actor=self.actor, subnet=self.row(pk), fields=bodies.subnet_changes(self.body))
        return self.rendered(self.row(pk))

    def delete(self, request: Request, pk: str) -> HttpResponseBase:
        """Delete a subnet that no port has an address of."""
        subnets.delete_subnet(actor=self.actor, subnet=self.row(pk))
        return HeadersOnly()


class Ports(PortView, ListView[Port]):
    """/v2.0/ports."""

    def post(self, request: Request) -> Response:
        """Make one port."""
        port = ports.create_port(actor=self.actor, wanted=bodies.port_of(self.body, self.actor))
        return self.rendered(self.row(str(port.pk)), status=201)


class OnePort(PortView):
    """/v2.0/ports/{id}."""

    def get(self, request: Request, pk: str) -> Response:
        """Show."""
        return self.rendered(self.row(pk))

    def put(self, request: Request, pk: str) -> Response:
        """Change a port's name, description, addresses or security groups."""
        ports.update_port(actor=self.actor, port=self.row(pk), fields=bodies.port_changes(self.body))
        return self.rendered(self.row(pk))

    def delete(self, request: Request, pk: str) -> HttpResponseBase:
        """Delete a port that no server uses."""
        ports.delete_port(actor=self.actor, port=self.row(pk))
        return HeadersOnly()


class SecurityGroups(SecurityGroupView, ListView[SecurityGroup]):
    """/v2.0/security-groups."""

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List; the group ``default`` is there for whoever asks for a project's, as in Neutron."""
        enforce(self.actor, "network:get")
        for project_id in self._projects_asked_for():
            groups.default_group(project_id)
        return super().get(request)

    def _projects_asked_for(self) -> list[str]:
        query = self.request.query_params
        asked = [*query.getlist("project_id"), *query.getlist("tenant_id")]
        if not asked or not self.actor.is_admin:
            return [self.actor.project_id] if self.actor.project_id else []
        return list(Project.objects.filter(pk__in=asked).values_list("pk", flat=True))

    def post(self, request: Request) -> Response:
        """Make a group."""
        wanted = bodies.group_of(self.body, self.actor)
        group = groups.create_group(actor=self.actor, **wanted)
        return self.rendered(self.row(str(group.pk)), status=201)


class OneSecurityGroup(SecurityGroupView):
    """/v2.0/security-groups/{id}."""

    def get(self, request: Request, pk: str) -> Response:
        """Show."""
        return self.rendered(self.row(pk))

    def put(self, request: Request, pk: str) -> Response:
        """Change a group's name or description."""
        groups.update_group(actor=self.actor, group=self.row(pk), fields=bodies.group_changes(self.body))
        return self.rendered(self.row(pk))

    def delete(self, request: Request, pk: str) -> HttpResponseBase:
        """Delete a group that no port wears."""
        groups.delete_group(actor=self.actor, group=self.row(pk))
        return HeadersOnly()


class SecurityGroupRules(SecurityGroupRuleView, ListView[SecurityGroupRule]):
    """/v2.0/security-group-rules."""


class OneSecurityGroupRule(SecurityGroupRuleView):
    """/v2.0/security-group-rules/{id}."""

    def get(self, request: Request, pk: str) -> Response:
        """Show."""
        return self.rendered(self.row(pk))
