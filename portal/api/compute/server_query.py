"""Lists of servers: Nova's filters, sort keys and pages."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable

from django.db.models import Q, QuerySet, TextField, Value
from django.db.models.functions import Cast, StrIndex
from django.utils.dateparse import parse_datetime
from rest_framework.exceptions import ParseError

from compute.errors import NotAllowed
from compute.models import Instance
from compute.models.instance import InstanceQuerySet
from compute.models.states import VmState, other_tasks, states_of_status
from portal.api.body import StrictBooleanField
from portal.api.compute.base import ComputeView, as_uuid
from portal.api.compute.name_pattern import found_in
from portal.api.paging import after, limit_of
from portal.identity.policy import Forbidden, allows

ALL_TENANTS = "os_compute_api:servers:index:get_all_tenants"
Filter = Callable[[InstanceQuerySet, str], InstanceQuerySet]


def moment(text: str, name: str) -> datetime.datetime:
    """A time of a query. Raises ParseError."""
    try:
        found = parse_datetime(text.replace(" ", "+"))
    except ValueError:
        found = None
    if found is None:
        raise ParseError(f"Invalid input for query parameters {name}. Value: {text[:60]}. It must be an ISO 8601 time.")
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def flag(text: str, name: str) -> bool:
    """A boolean of a query, in oslo's words. Raises ParseError."""
    value = StrictBooleanField.WORDS.get(text.lower())
    if value is None:
        raise ParseError(f"Invalid input for query parameters {name}. Value: {text[:60]}. It must be a boolean.")
    return value


def _number(field: str) -> Filter:
    def apply(rows: InstanceQuerySet, text: str) -> InstanceQuerySet:
        return (
            rows.filter(**{field: int(text)}) if text.isascii() and text.isdigit() and len(text) < 10 else rows.none()
        )

    return apply


def _equal(field: str) -> Filter:
    return lambda rows, text: rows.filter(**{field: text})


def _pattern(field: str) -> Filter:
    return lambda rows, text: rows.filter(found_in(field, text))


def _key(field: str) -> Filter:
    return lambda rows, text: rows.filter(**{field: key}) if (key := as_uuid(text)) else rows.none()


def _time(field: str) -> Filter:
    return lambda rows, text: rows.filter(**{f"{field}__gte": moment(text, field)})


def _boolean(field: str) -> Filter:
    return lambda rows, text: rows.filter(**{field: flag(text, field)})


def _address(ip_version: int) -> Filter:
    def apply(rows: InstanceQuerySet, text: str) -> InstanceQuerySet:
        part = text.removeprefix("^").removesuffix("$").replace("\\.", ".")
        return rows.filter(
            ports__addresses__address__contains=part, ports__addresses__subnet__ip_version=ip_version
        ).distinct()

    return apply


def _zone(rows: InstanceQuerySet, text: str) -> InstanceQuerySet:
    return rows.filter(Q(host__zone=text) | Q(host=None, zone=text))


def _config_drive(rows: InstanceQuerySet, text: str) -> InstanceQuerySet:
    return rows.filter(config_drive=flag(text or "false", "config_drive"))


def _has_tag(tag: str) -> Q:
    """The tag is an element of the JSON list. Tags hold no comma, so quotes around one end it for sure."""
    spellings = {json.dumps(tag), json.dumps(tag, ensure_ascii=False)}
    found = Q()
    for text in spellings:
        found |= Q(pk__in=Instance.objects.alias(at=StrIndex(Cast("tags", TextField()), Value(text))).filter(at__gt=0))
    return found


def _tags(wanted: bool, every: bool) -> Filter:
    def apply(rows: InstanceQuerySet, text: str) -> InstanceQuerySet:
        matches = [_has_tag(tag) for tag in text.split(",") if tag]
        both = Q()
        for match in matches:
            both = both & match if every else both | match
        return rows.filter(both) if wanted else rows.exclude(both)

    return apply


# Everybody's filters, and those that are everybody's from 2.83 on and administrators' before.
FOR_ALL: dict[str, Filter] = {
    "name": _pattern("name"),
    "display_name": _pattern("name"),
    "image": _key("image_id"),
    "image_ref": _key("image_id"),
    "flavor": _equal("flavor__id"),
    "reservation_id": _equal("reservation_id"),
    "ip": _address(4),
    "ip6": _address(6),
}
TAG_FILTERS: dict[str, Filter] = {
    "tags": _tags(wanted=True, every=True),
    "tags-any": _tags(wanted=True, every=False),
    "not-tags": _tags(wanted=False, every=True),
    "not-tags-any": _tags(wanted=False, every=False),
}
FOR_ALL_SINCE_2_83: dict[str, Filter] = {
    "availability_zone": _zone,
    "config_drive": _config_drive,
    "key_name": _equal("key_name"),
    "created_at": _time("created_at"),
    "launched_at": _time("launched_at"),
    "terminated_at": _time("terminated_at"),
    "power_state": _number("power_state"),
    "task_state": lambda rows, text: rows.filter(task_state=text or None),
    "vm_state": _equal("vm_state"),
    "progress": _number("progress"),
    "user_id": _equal("user_id"),
}
FOR_ADMINS: dict[str, Filter] = {
    "host": _equal("host__name"),
    "node": _equal("host__name"),
    "uuid": _key("id"),
    "hostname": _pattern("hostname"),
    "description": _pattern("description"),
    "display_description": _pattern("description"),
    "launch_index": _number("launch_index"),
    "access_ip_v4": _equal("access_ipv4"),
    "access_ip_v6": _equal("access_ipv6"),
    "instance_type_id": _equal("flavor__id"),
}
# Known to Nova's schema; they select nothing here, or are read elsewhere in this module.
OTHERS = frozenset(
    """
    limit marker sort_key sort_dir all_tenants project_id tenant_id deleted status changes-since soft_deleted
    auto_disk_config kernel_id ramdisk_id root_device_name locked_by
    """.split()  # noqa: SIM905  (a list of this length reads better as text)
)
SORT_KEYS = {
    "created_at": "created_at", "updated_at": "updated_at", "launched_at": "launched_at", "uuid": "id", "id": "id",
    "display_name": "name", "name": "name", "hostname": "hostname", "vm_state": "vm_state", "task_state": "task_state",
    "power_state": "power_state", "user_id": "user_id", "project_id": "project_id", "image_ref": "image_id",
    "key_name": "key_name", "launch_index": "launch_index", "progress": "progress", "host": "host_id",
    "node": "host_id",
    "availability_zone": "zone", "display_description": "description", "access_ip_v4": "access_ipv4",
    "access_ip_v6": "access_ipv6", "config_drive": "config_drive", "instance_type_id": "vcpus", "locked": "locked",
    "terminated_at": "terminated_at", "root_device_name": "id", "kernel_id": "id", "ramdisk_id": "id",
    "auto_disk_config": "disk_config", "deleted_at": "deleted_at",
}  # fmt: skip


class ServerQuery:
    """One request for a list of servers."""

    def __init__(self, view: ComputeView) -> None:
        self.view = view
        self.is_admin = view.actor.is_admin
        view.known_query(*self._names())
        # The openstack command sends what was not asked for as the text None.
        query = view.request.query_params
        self.query = {name: query[name] for name in query if query[name] != "None"}
        self.values = {name: [one for one in query.getlist(name) if one != "None"] for name in query}

    def _names(self) -> set[str]:
        names = {*FOR_ALL, *FOR_ALL_SINCE_2_83, *FOR_ADMINS, *OTHERS}
        if self.view.at("2.26"):
            names |= set(TAG_FILTERS)
        if self.view.at("2.66"):
            names.add("changes-before")
        if self.view.at("2.73"):
            names.add("locked")
        return names

    def rows(self) -> InstanceQuerySet:
        """The servers asked for, without order and page. Raises ParseError and Forbidden."""
        rows = self._by_deletion(self._by_project(Instance.objects.all()))
        for name, apply in self._filters().items():
            if name in self.query:
                rows = apply(rows, self.query[name])
        if "locked" in self.query and self.view.at("2.73"):
            rows = rows.filter(locked=flag(self.query["locked"], "locked"))
        return self._by_status(self._by_change(rows))

    def _filters(self) -> dict[str, Filter]:
        """What this caller may filter by at this version; the rest is ignored, as Nova does."""
        filters = dict(FOR_ALL)
        if self.view.at("2.26"):
            filters |= TAG_FILTERS
        if self.is_admin or self.view.at("2.83"):
            filters |= FOR_ALL_SINCE_2_83
        if self.is_admin:
            filters |= FOR_ADMINS
        return filters

    def _by_project(self, rows: InstanceQuerySet) -> InstanceQuerySet:
        actor = self.view.actor
        project = self.query.get("project_id", self.query.get("tenant_id")) if self.is_admin else None
        everywhere = "all_tenants" in self.query and flag(self.query["all_tenants"] or "true", "all_tenants")
        if everywhere and not allows(actor, ALL_TENANTS):
            raise Forbidden(ALL_TENANTS)
        rows = rows.visible_to(actor, all_projects=everywhere)
        return rows.filter(project_id=project) if project is not None and everywhere else rows

    def _by_deletion(self, rows: InstanceQuerySet) -> InstanceQuerySet:
        if "deleted" in self.query and self.is_admin:
            gone = Q(deleted_at__isnull=False) | Q(vm_state=VmState.SOFT_DELETED)
            return rows.filter(gone) if flag(self.query["deleted"], "deleted") else rows.exclude(gone)
        if "changes-since" in self.query or (self.view.at("2.66") and "changes-before" in self.query):
            return rows
        if self.is_admin and "DELETED" in (one.upper() for one in self.values.get("status", [])):
            return rows
        if "SOFT_DELETED" in (one.upper() for one in self.values.get("status", [])):
            return rows.alive()
        return rows.alive().exclude(vm_state=VmState.SOFT_DELETED)

    def _by_change(self, rows: InstanceQuerySet) -> InstanceQuerySet:
        since = moment(self.query["changes-since"], "changes-since") if "changes-since" in self.query else None
        before = None
        if self.view.at("2.66") and "changes-before" in self.query:
            before = moment(self.query["changes-before"], "changes-before")
        if since and before and since > before:
            raise ParseError("The value of changes-since must be less than or equal to changes-before.")
        rows = rows.filter(updated_at__gte=since) if since else rows
        return rows.filter(updated_at__lte=before) if before else rows

    def _by_status(self, rows: InstanceQuerySet) -> InstanceQuerySet:
        wanted = [one.upper() for one in self.values.get("status", []) if one]
        if not wanted:
            return rows
        if "DELETED" in wanted and not self.is_admin:
            raise NotAllowed("Only administrators may list deleted instances")
        pairs = [pair for one in wanted for pair in states_of_status(one)]
        if not pairs:
            if self.view.at("2.38"):
                raise ParseError("Invalid status value")
            return rows.none()
        return rows.filter(_any_of(pairs))

    def page(self) -> tuple[QuerySet[Instance], int]:
        """The rows of the page in their order, and its limit. Raises ParseError."""
        limit = limit_of(self.view.request.query_params)
        marker = None
        if key := self.query.get("marker"):
            uuid = as_uuid(key)
            seen = Instance.objects.visible_to(self.view.actor, all_projects=True)
            marker = seen.filter(pk=uuid).first() if uuid else None
            if marker is None:
                raise ParseError(f"marker [{key}] not found")
        return after(self.rows(), marker, self._order())[:limit], limit

    def _order(self) -> list[tuple[str, bool]]:
        keys = self.values.get("sort_key", []) or ["created_at"]
        ways = self.values.get("sort_dir", []) or ["desc"]
        if bad := [key for key in keys if key not in SORT_KEYS] + [way for way in ways if way not in ("asc", "desc")]:
            raise ParseError(f"Invalid input for query parameters sort_key or sort_dir. Value: {bad[0][:60]}.")
        if {"host", "node"} & set(keys) and not self.is_admin:
            raise Forbidden("os_compute_api:os-extended-server-attributes")
        ways = (ways + [ways[-1]] * len(keys))[: len(keys)]
        order = {SORT_KEYS[key]: way == "desc" for key, way in zip(keys, ways, strict=True)}
        if "id" not in order:
            order["id"] = ways[-1] == "desc"
        return list(order.items())


def _any_of(pairs: list[tuple[str, list[str]]]) -> Q:
    found = Q()
    for vm_state, tasks in pairs:
        if tasks:
            found |= Q(vm_state=vm_state, task_state__in=tasks)
        else:
            found |= Q(vm_state=vm_state) & (Q(task_state=None) | ~Q(task_state__in=other_tasks(vm_state)))
    return found
