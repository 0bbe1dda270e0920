"""Where a new server should go: scheduler hints, and the zone or host that is asked for."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from rest_framework.exceptions import ValidationError

from compute.errors import Invalid
from portal.api.compute.base import as_uuid
from scheduler import json_query
from scheduler.filters.network import network_of

# Both spellings that Nova takes; the first counts where both are there.
KEYS = ("os:scheduler_hints", "OS-SCH-HNT:scheduler_hints")
CIDR = re.compile(r"/[0-9a-f.:]+")
QUERY_CAP = 65_535
HINTS_CAP = 64
SIZE_CAP = 65_535  # of all together, as user data: each server keeps them, and every decision about it reads them


def hints_of(body: dict[str, Any]) -> dict[str, Any]:
    """The scheduler hints of a POST /servers. Hints that nobody knows are kept as they are, as Nova does.

    Raises ValidationError for a hint that is not in its form.
    """
    for key in KEYS:
        if key in body:
            check_hints(body[key])
    return dict(next((body[key] for key in KEYS if key in body), {}))


def check_hints(hints: Any) -> None:
    """Raise ValidationError for hints that are not an object of some, or not in their form."""
    if not isinstance(hints, dict) or len(hints) > HINTS_CAP:
        raise ValidationError(
            f"Invalid input for field/attribute os:scheduler_hints. It must be an object of at most {HINTS_CAP} hints."
        )
    text = json.dumps(hints)
    if len(text) > SIZE_CAP:
        raise ValidationError(
            f"Invalid input for field/attribute os:scheduler_hints. It must not be longer than {SIZE_CAP} characters."
        )
    if "\\u0000" in text:
        raise ValidationError("Invalid input for field/attribute os:scheduler_hints. It must not hold NUL.")
    for name, (is_good, form) in FORMS.items():
        if name in hints and not is_good(hints[name]):
            raise ValidationError(
                f"Invalid input for field/attribute {name}. Value: {str(hints[name])[:60]}. It must be {form}."
            )
    try:
        if "query" in hints:
            json_query.check(hints["query"])
        if "build_near_host_ip" in hints:
            network_of(hints["build_near_host_ip"], hints.get("cidr", "/24"))
    except ValueError as error:
        raise ValidationError(str(error)) from error


def _is_uuid(value: Any) -> bool:
    return isinstance(value, str) and as_uuid(value) is not None


def _are_uuids(value: Any) -> bool:
    return _is_uuid(value) or (isinstance(value, list) and bool(value) and all(_is_uuid(one) for one in value))


def _is_query(value: Any) -> bool:
    """A JSON list (the filter's language) as text, or as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if len(value) <= QUERY_CAP else None
        except (ValueError, RecursionError):
            return False
    return isinstance(value, dict | list)


def _is_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _is_prefix(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 40 and bool(CIDR.fullmatch(value))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255


def _are_names(value: Any) -> bool:
    return _is_name(value) or (isinstance(value, list) and bool(value) and all(_is_name(one) for one in value))


FORMS = {
    "group": (_is_uuid, "a UUID"),
    "same_host": (_are_uuids, "a UUID or a list of them"),
    "different_host": (_are_uuids, "a UUID or a list of them"),
    "query": (_is_query, "a query in JSON"),
    "build_near_host_ip": (_is_address, "an IP address"),
    "cidr": (_is_prefix, "a prefix length with its slash"),
    "target_cell": (_is_name, "a name"),
    "different_cell": (_are_names, "a name or a list of them"),
}


def place_of(data: dict[str, Any]) -> tuple[str, str, bool]:
    """The zone, the host, and whether the host is forced.

    ``zone:host``, ``zone::node`` and ``zone:host:node`` force it (a host has one node, of its own name); the fields of
    2.74 ask for it. Raises Invalid.
    """
    zone, *forced = (data.get("availability_zone") or "").split(":")
    if len(forced) > 2:
        raise Invalid("Unable to parse availability_zone: zone:host:node at the most.", about="zone")
    forced_host = _one_host(forced)
    asked_host = _one_host([data[name] for name in ("host", "hypervisor_hostname") if name in data])
    if forced_host and asked_host:
        raise Invalid("Name the host either in availability_zone or in host, not in both.", about="host")
    return zone, forced_host or asked_host, bool(forced_host)


def _one_host(named: list[str]) -> str:
    names = sorted({name for name in named if name})
    if len(names) > 1:
        raise Invalid(f"Compute host {names[0]} has no node {names[1]}.", about="host")
    return names[0] if names else ""
