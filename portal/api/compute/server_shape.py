"""A server on the wire, at every version; and the few queries that a page of servers costs."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import UUID

from compute.models import Fault, Host, Instance, Port, PortAddress
from portal.api.compute.base import ComputeView
from portal.api.shape import Shape
from portal.api.shape import field as wire
from portal.api.versions import Version
from portal.api.wire import microseconds, seconds
from portal.identity.policy import allows

Addresses = dict[str, list[dict[str, Any]]]

# Nova answers with `progress` and `fault` in these statuses alone.
WITH_PROGRESS = frozenset({"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})
WITH_FAULT = frozenset({"ERROR", "DELETED"})
# What an image property's name may look like in a server's body (2.98).
PROPERTY_NAME = re.compile(r"[a-zA-Z0-9_:. ]{1,255}")
ROOT_DEVICE = "/dev/vda"


@dataclass
class Page:
    """What servers need besides their own rows, read once for all of them."""

    version: Version
    base: str
    bookmark: str
    sees_hosts: bool
    hosts: dict[int, Host] = field(default_factory=dict)
    addresses: dict[UUID, Addresses] = field(default_factory=dict)
    groups: dict[UUID, list[dict[str, str]]] = field(default_factory=dict)
    faults: dict[UUID, Fault] = field(default_factory=dict)


def page_of(view: ComputeView, rows: Sequence[Instance], extended_addresses: bool = True) -> Page:
    """Read what the rows need: a fixed number of queries, however many rows there are."""
    page = Page(
        version=view.version,
        base=view.base,
        bookmark=view.bookmark,
        sees_hosts=allows(view.actor, "os_compute_api:os-extended-server-attributes"),
    )
    ids = [row.id for row in rows]
    page.hosts = {host.pk: host for host in Host.objects.filter(pk__in={row.host_id for row in rows if row.host_id})}
    page.addresses = addresses_of(ids, extended_addresses)
    page.groups = _groups_of(ids)
    broken = [row.id for row in rows if row.status in WITH_FAULT]
    if broken:
        page.faults = {fault.instance_id: fault for fault in Fault.objects.filter(instance__in=broken)}
    return page


def addresses_of(ids: Iterable[UUID], extended: bool = True) -> dict[UUID, Addresses]:
    """The addresses of instances by network, in the order of their cards."""
    found: dict[UUID, Addresses] = defaultdict(dict)
    rows = PortAddress.objects.filter(port__instance__in=list(ids)).order_by("port__position", "port_id", "id")
    columns = (
        "port__instance_id",
        "port__network__name",
        "port__network_id",
        "address",
        "subnet__ip_version",
        "port__mac",
    )
    for instance_id, name, network_id, address, ip_version, mac in rows.values_list(*columns):
        entry: dict[str, Any] = {"version": ip_version, "addr": address}
        if extended:
            entry |= {"OS-EXT-IPS:type": "fixed", "OS-EXT-IPS-MAC:mac_addr": mac}
        found[instance_id].setdefault(name or str(network_id), []).append(entry)
    return found


def _groups_of(ids: Iterable[UUID]) -> dict[UUID, list[dict[str, str]]]:
    found: dict[UUID, list[dict[str, str]]] = defaultdict(list)
    worn = Port.security_groups.through.objects.filter(port__instance__in=list(ids))
    names = worn.values_list("port__instance_id", "securitygroup__name").distinct()
    for instance_id, name in names.order_by("securitygroup__name"):
        found[instance_id].append({"name": name})
    return found


def _plain(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if value is None else str(value)[:255]
        for name, value in properties.items()
        if PROPERTY_NAME.fullmatch(name)
    }


@lru_cache(maxsize=4096)
def host_id(project_id: str, host: str) -> str:
    """A name of the host that says nothing of it, and is another in each project (Nova's hostId)."""
    return hashlib.sha224(f"{project_id}{host}".encode()).hexdigest()


def _host_of(row: Instance, page: Page) -> Host | None:
    return page.hosts.get(row.host_id) if row.host_id else None


def _host_name(row: Instance, page: Page) -> str | None:
    host = _host_of(row, page)
    return host.name if host else None


def _host_id(row: Instance, page: Page) -> str:
    name = _host_name(row, page)
    return host_id(row.project_id, name) if name else ""


def _host_status(row: Instance, page: Page) -> str:
    host = _host_of(row, page)
    if host is None:
        return ""
    if not host.is_up:
        return "DOWN"
    return "UP" if host.enabled else "MAINTENANCE"


def _zone(row: Instance, page: Page) -> str:
    host = _host_of(row, page)
    return host.zone if host else row.zone


def _links(row: Instance, page: Page) -> list[dict[str, str]]:
    return [
        {"rel": "self", "href": f"{page.base}/servers/{row.id}"},
        {"rel": "bookmark", "href": f"{page.bookmark}/servers/{row.id}"},
    ]


def _image(row: Instance, page: Page) -> Any:
    if row.image_id is None:
        return ""
    return {
        "id": str(row.image_id),
        "links": [{"rel": "bookmark", "href": f"{page.bookmark}/images/{row.image_id}"}],
    }


def _image_with_properties(row: Instance, page: Page) -> Any:
    image = _image(row, page)
    if image:
        image["properties"] = _plain(row.image_properties)
    return image


def _flavor_link(row: Instance, page: Page) -> dict[str, Any]:
    key = row.flavor["id"]
    return {"id": key, "links": [{"rel": "bookmark", "href": f"{page.bookmark}/flavors/{key}"}]}


def _flavor(row: Instance, page: Page) -> dict[str, Any]:
    flavor = row.flavor
    return {
        "original_name": flavor["name"],
        "vcpus": flavor["vcpus"],
        "ram": flavor["memory_mb"],
        "disk": flavor["disk_gb"],
        "ephemeral": flavor["ephemeral_gb"],
        "swap": flavor["swap_mb"],
        "extra_specs": flavor["extra_specs"],
    }


# In every answer that shows a server.
BRIEF: Shape[Instance] = Shape(
    wire("id", lambda row, page: str(row.id)),
    wire("name", lambda row, page: row.name),
    wire("status", lambda row, page: row.status),
    wire("tenant_id", lambda row, page: row.project_id),
    wire("user_id", lambda row, page: row.user_id or ""),
    wire("metadata", lambda row, page: row.metadata),
    wire("hostId", _host_id),
    wire("image", _image, until="2.97"),
    wire("image", _image_with_properties, since="2.98"),
    wire("flavor", _flavor_link, until="2.46"),
    wire("flavor", _flavor, since="2.47"),
    wire("created", lambda row, page: seconds(row.created_at)),
    wire("updated", lambda row, page: seconds(row.updated_at)),
    wire("addresses", lambda row, page: page.addresses.get(row.id, {})),
    wire("accessIPv4", lambda row, page: row.access_ipv4),
    wire("accessIPv6", lambda row, page: row.access_ipv6),
    wire("links", _links),
    wire("OS-DCF:diskConfig", lambda row, page: row.disk_config),
    wire("locked", lambda row, page: row.locked, since="2.9"),
    wire("description", lambda row, page: row.description, since="2.19"),
    wire("tags", lambda row, page: row.tags, since="2.26"),
    wire("trusted_image_certificates", lambda row, page: None, since="2.63"),
    wire("locked_reason", lambda row, page: row.locked_reason, since="2.73"),
    wire("pinned_availability_zone", lambda row, page: row.zone or None, since="2.96"),
    wire("scheduler_hints", lambda row, page: row.scheduler_hints, since="2.100"),
)
# What show and detail say besides.
FULL: Shape[Instance] = Shape(
    wire("OS-EXT-AZ:availability_zone", _zone),
    wire("config_drive", lambda row, page: "True" if row.config_drive else ""),
    wire("key_name", lambda row, page: row.key_name),
    wire("OS-SRV-USG:launched_at", lambda row, page: microseconds(row.launched_at)),
    wire("OS-SRV-USG:terminated_at", lambda row, page: microseconds(row.terminated_at)),
    wire("OS-EXT-STS:task_state", lambda row, page: row.task_state),
    wire("OS-EXT-STS:vm_state", lambda row, page: row.vm_state),
    wire("OS-EXT-STS:power_state", lambda row, page: row.power_state),
    wire("os-extended-volumes:volumes_attached", lambda row, page: []),
    wire("OS-EXT-SRV-ATTR:hostname", lambda row, page: row.hostname, since="2.90"),
)
# What administrators alone see.
ADMIN: Shape[Instance] = Shape(
    wire("OS-EXT-SRV-ATTR:host", _host_name),
    wire("OS-EXT-SRV-ATTR:hypervisor_hostname", _host_name),
    wire("OS-EXT-SRV-ATTR:instance_name", lambda row, page: row.domain_name),
    wire("OS-EXT-SRV-ATTR:reservation_id", lambda row, page: row.reservation_id, since="2.3"),
    wire("OS-EXT-SRV-ATTR:launch_index", lambda row, page: row.launch_index, since="2.3"),
    wire("OS-EXT-SRV-ATTR:hostname", lambda row, page: row.hostname, since="2.3"),
    wire("OS-EXT-SRV-ATTR:kernel_id", lambda row, page: "", since="2.3"),
    wire("OS-EXT-SRV-ATTR:ramdisk_id", lambda row, page: "", since="2.3"),
    wire("OS-EXT-SRV-ATTR:root_device_name", lambda row, page: ROOT_DEVICE, since="2.3"),
    wire("OS-EXT-SRV-ATTR:user_data", lambda row, page: row.user_data, since="2.3"),
    wire("host_status", _host_status, since="2.16"),
)
# What show, update and rebuild say, and lists do not.
ALONE: Shape[Instance] = Shape(
    wire("server_groups", lambda row, page: [str(row.server_group_id)] if row.server_group_id else [], since="2.71")
)
# What rebuild says besides, as it may change these.
REBUILT: Shape[Instance] = Shape(
    wire("key_name", lambda row, page: row.key_name, since="2.54"),
    wire("user_data", lambda row, page: row.user_data, since="2.57"),
)
SHAPES = (BRIEF, FULL, ADMIN, ALONE, REBUILT)


def brief(row: Instance, page: Page) -> dict[str, Any]:
    """What PUT answers up to 2.74; progress and fault only in the statuses that have them."""
    body = BRIEF.render(row, page.version, page)
    if body["status"] in WITH_PROGRESS:
        body["progress"] = row.progress
    elif (fault := page.faults.get(row.id)) and body["status"] in WITH_FAULT:
        body["fault"] = _fault(fault, page.sees_hosts)
    return body


def full(row: Instance, page: Page) -> dict[str, Any]:
    """A server of a detailed list."""
    body = brief(row, page) | FULL.render(row, page.version, page)
    if groups := page.groups.get(row.id):
        body["security_groups"] = groups
    if page.sees_hosts:
        body |= ADMIN.render(row, page.version, page)
    return body


def alone(row: Instance, page: Page) -> dict[str, Any]:
    """A server shown by itself."""
    return full(row, page) | ALONE.render(row, page.version, page)


def _fault(fault: Fault, sees_details: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"code": fault.code, "created": seconds(fault.created_at), "message": fault.message}
    if sees_details and fault.details:
        body["details"] = fault.details
    return body
