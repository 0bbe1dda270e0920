"""Neutron's resources on the wire, attribute by attribute."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from rest_framework.exceptions import ParseError

from compute.models import Network, Port, SecurityGroup, SecurityGroupRule, Subnet
from portal.api.network.query import (
    NOTHING,
    Attribute,
    Condition,
    Resource,
    address_in,
    computed,
    constant,
    flag,
    identifier,
    moment,
    number,
    optional,
    text,
    uuids,
)

ZONE = "nova"
DESCRIBED = (text("description"), moment("created_at"), moment("updated_at"), constant("tags", []))


def _owner(column: str = "project_id") -> tuple[Attribute, ...]:
    """A project has two names on this wire."""
    return tuple(text(name, column) for name in ("tenant_id", "project_id"))


def _ids(column: str) -> Condition:
    return lambda values: Q(**{f"{column}__in": uuids(values)})


NETWORKS: Resource[Network] = Resource(
    "network",
    "networks",
    (
        identifier("id", "id"),
        text("name"),
        *_owner(),
        flag("admin_state_up"),
        number("mtu"),
        constant("status", "ACTIVE"),
        computed("subnets", lambda row: [str(subnet.id) for subnet in row.subnets.all()], _ids("subnets")),
        flag("shared"),
        flag("router:external", "external"),
        constant("availability_zone_hints", []),
        computed("availability_zones", lambda row: [ZONE]),
        constant("ipv4_address_scope", None),
        constant("ipv6_address_scope", None),
        *DESCRIBED,
    ),
    {},
)

SUBNETS: Resource[Subnet] = Resource(
    "subnet",
    "subnets",
    (
        identifier("id", "id"),
        text("name"),
        *_owner(),
        identifier("network_id", "network_id"),
        number("ip_version"),
        constant("subnetpool_id", None),
        flag("enable_dhcp"),
        constant("ipv6_ra_mode", None),
        constant("ipv6_address_mode", None),
        computed("gateway_ip", lambda row: row.gateway_ip, address_in("gateway_ip")),
        text("cidr"),
        computed("allocation_pools", lambda row: row.allocation_pools),
        constant("host_routes", []),
        computed("dns_nameservers", lambda row: row.dns_nameservers),
        *DESCRIBED,
    ),
    {"shared": lambda values: Q(network__shared__in=[value.lower() in ("true", "1") for value in values])},
)


def _device_id(row: Port) -> str:
    return str(row.instance_id) if row.instance_id else ""


def _by_device(values: list[str]) -> Q:
    given = Q(instance_id__in=uuids(values))
    return given | Q(instance=None) if "" in values else given


def _zone_of(row: Port) -> str:
    host = row.instance.host if row.instance else None
    return host.zone if host is not None else ZONE


def _device_owner(row: Port) -> str:
    return f"compute:{_zone_of(row)}" if row.instance_id else ""


def _by_device_owner(values: list[str]) -> Q:
    condition = NOTHING
    for value in values:
        kind, _, zone = value.partition(":")
        if not value:
            condition |= Q(instance=None)
        elif kind == "compute" and zone:
            unplaced = Q(instance__isnull=False, instance__host=None) if zone == ZONE else NOTHING
            condition |= Q(instance__host__zone=zone) | unplaced
    return condition


def _host_of(row: Port) -> str:
    host = row.instance.host if row.instance else None
    return host.name if host is not None else ""


def _fixed_ips(row: Port) -> list[dict[str, str]]:
    return [{"subnet_id": str(one.subnet_id), "ip_address": one.address} for one in row.addresses.all()]


def _by_fixed_ips(values: list[str]) -> Q:
    """``fixed_ips=ip_address=…`` and its kin; addresses are alternatives, a subnet besides narrows them."""
    subnets, addresses, parts = [], [], []
    for value in values:
        name, _, wanted = value.partition("=")
        if name == "subnet_id":
            subnets.append(wanted)
        elif name == "ip_address":
            addresses.append(wanted)
        elif name == "ip_address_substr":
            parts.append(wanted)
        else:
            raise ParseError(
                f"Invalid input for fixed_ips: '{name[:32]}' is not ip_address, subnet_id or ip_address_substr."
            )
    condition = Q(addresses__subnet_id__in=uuids(subnets)) if subnets else Q()
    if addresses:
        condition &= address_in("addresses__address")(addresses)
    for part in parts:
        condition &= Q(addresses__address__contains=part)
    # A port with two addresses is still one port.
    return Q(pk__in=Port.objects.filter(condition).values("pk"))


PORTS: Resource[Port] = Resource(
    "port",
    "ports",
    (
        identifier("id", "id"),
        text("name"),
        *_owner(),
        identifier("network_id", "network_id"),
        computed("mac_address", lambda row: row.mac, lambda values: Q(mac__in=[value.lower() for value in values])),
        flag("admin_state_up"),
        text("status"),
        computed("device_id", _device_id, _by_device),
        computed("device_owner", _device_owner, _by_device_owner),
        computed("fixed_ips", _fixed_ips, _by_fixed_ips),
        computed(
            "security_groups",
            lambda row: [str(group.id) for group in row.security_groups.all()],
            lambda values: Q(pk__in=Port.objects.filter(security_groups__in=uuids(values)).values("pk")),
        ),
        constant("binding:vnic_type", "normal"),
        computed("binding:host_id", _host_of, lambda values: Q(instance__host__name__in=values), admin=True),
        computed("binding:vif_type", lambda row: "bridge" if _host_of(row) else "unbound", admin=True),
        computed("binding:vif_details", lambda row: {"port_filter": True} if _host_of(row) else {}, admin=True),
        computed("binding:profile", lambda row: {}, admin=True),
        *DESCRIBED,
    ),
    {},
)


def _cidr(rule: SecurityGroupRule) -> str | None:
    return rule.remote_ip_prefix


SECURITY_GROUP_RULES: Resource[SecurityGroupRule] = Resource(
    "security_group_rule",
    "security_group_rules",
    (
        identifier("id", "id"),
        *(computed(name, lambda row: row.group.project_id, lambda values: Q(group__project_id__in=values))
          for name in ("tenant_id", "project_id")),
        identifier("security_group_id", "group_id"),
        text("ethertype"),
        text("direction"),
        optional("protocol"),
        computed("port_range_min", lambda row: row.port_range_min, number("port_range_min").condition),
        computed("port_range_max", lambda row: row.port_range_max, number("port_range_max").condition),
        optional("remote_ip_prefix"),
        constant("remote_address_group_id", None),
        computed("normalized_cidr", _cidr),
        computed(
            "remote_group_id",
            lambda row: str(row.remote_group_id) if row.remote_group_id else None,
            _ids("remote_group_id"),
        ),
        text("description"),
        moment("created_at"),
        # Rules never change.
        computed("updated_at", lambda row: moment("created_at").get(row)),
        constant("tags", []),
    ),
    {},
)  # fmt: skip


def _rules(row: SecurityGroup) -> list[dict[str, Any]]:
    rendered = []
    for rule in row.rules.all():
        rule.group = row
        rendered.append({one.name: one.get(rule) for one in SECURITY_GROUP_RULES.attributes})
    return rendered


SECURITY_GROUPS: Resource[SecurityGroup] = Resource(
    "security_group",
    "security_groups",
    (
        identifier("id", "id"),
        text("name"),
        *_owner(),
        constant("stateful", True),
        constant("shared", False),
        computed("security_group_rules", _rules),
        *DESCRIBED,
    ),
    {},
)
