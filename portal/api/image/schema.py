"""What an image is on the wire: each attribute declared once, for the schemas, for POST and for PATCH."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rest_framework.exceptions import ParseError, PermissionDenied

from compute.images.verbs import CONTAINER_FORMATS, DISK_FORMATS
from compute.models import ImageStatus, ImageVisibility

UUID_FORM = r"^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
MAX_INTEGER = (1 << 31) - 1
MAX_VALUE = 65_535
TEXT = {"type": ["null", "string"], "maxLength": 255}
SIZE = {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}
READ_ONLY = {"readOnly": True}

PROPERTIES: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "description": "An identifier for the image", "pattern": UUID_FORM},
    "name": {**TEXT, "description": "Descriptive name for the image"},
    "status": {"type": "string", "enum": ImageStatus.values, **READ_ONLY},
    "visibility": {"type": "string", "description": "Who sees the image", "enum": ImageVisibility.values},
    "protected": {"type": "boolean", "description": "If true, the image cannot be deleted"},
    "os_hidden": {"type": "boolean", "description": "If true, lists leave the image out"},
    "checksum": {"type": ["null", "string"], "description": "MD5 of the data", "maxLength": 32, **READ_ONLY},
    "os_hash_algo": {"type": ["null", "string"], "maxLength": 64, **READ_ONLY},
    "os_hash_value": {"type": ["null", "string"], "maxLength": 128, **READ_ONLY},
    "owner": {**TEXT, "description": "The project that owns the image"},
    "size": {"type": ["null", "integer"], "description": "Size of the data in bytes", **READ_ONLY},
    "virtual_size": {"type": ["null", "integer"], "description": "Size as a disk in bytes", **READ_ONLY},
    "container_format": {"type": ["null", "string"], "enum": [None, *CONTAINER_FORMATS]},
    "disk_format": {"type": ["null", "string"], "enum": [None, *DISK_FORMATS]},
    "created_at": {"type": "string", "description": "When the image was made", **READ_ONLY},
    "updated_at": {"type": "string", "description": "When the image last changed", **READ_ONLY},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
    "min_ram": {**SIZE, "description": "Memory in MB that a server needs at least"},
    "min_disk": {**SIZE, "description": "Disk in GB that a server needs at least"},
    "self": {"type": "string", **READ_ONLY},
    "file": {"type": "string", **READ_ONLY},
    "schema": {"type": "string", **READ_ONLY},
}
CUSTOM = {"type": "string", "maxLength": MAX_VALUE}
# Names that Glance keeps for itself; nobody sets them, whatever the value.
RESERVED = frozenset({"direct_url", "locations", "location", "stores", "deleted", "deleted_at"})
MODEL_FIELDS = {
    "id": "id",
    "name": "name",
    "visibility": "visibility",
    "protected": "protected",
    "os_hidden": "hidden",
    "owner": "project_id",
    "container_format": "container_format",
    "disk_format": "disk_format",
    "tags": "tags",
    "min_ram": "min_memory_mb",
    "min_disk": "min_disk_gb",
}
MEMBER = {
    "created_at": {"type": "string", "description": "When the image was shared"},
    "image_id": {"type": "string", "description": "The image", "pattern": UUID_FORM},
    "member_id": {"type": "string", "description": "The project that it is shared with"},
    "schema": {"type": "string", **READ_ONLY},
    "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
    "updated_at": {"type": "string", "description": "When the membership last changed"},
}
_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list, "null": type(None)}


def image_schema() -> dict[str, Any]:
    """The JSON schema of an image, as Glance's clients read it."""
    return {
        "name": "image",
        "properties": PROPERTIES,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def collection_schema(name: str, item: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a list (``images``, ``members``) of what ``item`` describes."""
    text = {"type": "string"}
    return {
        "name": name,
        "properties": {name: {"type": "array", "items": item}, "first": text, "next": text, "schema": text},
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def member_schema() -> dict[str, Any]:
    """The JSON schema of a member."""
    return {"name": "member", "properties": MEMBER}


def check_settable(name: str) -> None:
    """Raise PermissionDenied (403, as Glance) for an attribute that nobody sets by hand."""
    if name in RESERVED or name.startswith("os_glance"):
        raise PermissionDenied(f"Attribute '{name[:64]}' is reserved.")
    if PROPERTIES.get(name, {}).get("readOnly"):
        raise PermissionDenied(f"Attribute '{name}' is read-only.")


def check_value(name: str, value: Any) -> None:
    """Raise ParseError (400) for a value that the schema does not allow."""
    if not 0 < len(name) <= 255 or "\x00" in name:
        raise ParseError("Provided object does not match schema 'image': a property's name has 1 to 255 characters.")
    if why := _fault(value, PROPERTIES.get(name, CUSTOM)):
        raise ParseError(f"Provided object does not match schema 'image': {name}: {why}.")


def _fault(value: Any, schema: dict[str, Any]) -> str:
    names: Iterable[str] = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if not any(_is(value, name) for name in names):
        return f"it must be of type {' or '.join(names)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"it must be one of {', '.join(str(one) for one in schema['enum'] if one is not None)}"
    if isinstance(value, str):
        return _fault_of_text(value, schema)
    if isinstance(value, list):
        return next((why for one in value if (why := _fault(one, schema["items"]))), "")
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"it must be from {schema['minimum']} to {schema['maximum']}"
    return ""


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and not (name == "integer" and isinstance(value, bool))


def _fault_of_text(value: str, schema: dict[str, Any]) -> str:
    if len(value) > schema.get("maxLength", len(value)):
        return f"it has more than {schema['maxLength']} characters"
    if "\x00" in value:
        return "it must not hold the character NUL"
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        return "it has not the right form"
    return ""
