"""PATCH of an image: Glance's two dialects of JSON patch, read into changes of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rest_framework.exceptions import ParseError, PermissionDenied, UnsupportedMediaType

from compute.errors import Conflict
from compute.models import Image
from portal.api.image.schema import MODEL_FIELDS, PROPERTIES, check_settable, check_value

MEDIA_2_0 = "application/openstack-images-v2.0-json-patch"
MEDIA_2_1 = "application/openstack-images-v2.1-json-patch"
VERBS = ("add", "replace", "remove")


@dataclass(frozen=True)
class Step:
    """One change: what (``add``, ``replace``, ``remove``), of which attribute, to which value."""

    verb: str
    name: str
    value: Any


def steps_of(media_type: str, body: Any) -> list[Step]:
    """The steps of a request. Raises UnsupportedMediaType and ParseError."""
    media_type = media_type.split(";", 1)[0].strip().lower()
    if media_type not in (MEDIA_2_0, MEDIA_2_1):
        raise UnsupportedMediaType(media_type, f"Unsupported media type; use {MEDIA_2_1} or {MEDIA_2_0}.")
    if not isinstance(body, list):
        raise ParseError("Request body must be a JSON array of operation objects.")
    return [_step(one, media_type) for one in body]


def _step(raw: Any, media_type: str) -> Step:
    if not isinstance(raw, dict):
        raise ParseError("Operations must be JSON objects.")
    if media_type == MEDIA_2_1:
        verb, path = raw.get("op"), raw.get("path")
    else:
        verb = next((one for one in VERBS if one in raw), None)
        path = raw.get(verb) if verb else None
    if verb not in VERBS:
        raise ParseError(f"Operations must be one of {', '.join(VERBS)}.")
    if verb != "remove" and "value" not in raw:
        raise ParseError(f'Operation "{verb}" requires a member named "value".')
    return Step(verb, _name(path), raw.get("value"))


def _name(path: Any) -> str:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ParseError(f'Pointer `{str(path)[:64]}` does not start with "/".')
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    if parts[0] == "locations":
        raise PermissionDenied("Attribute 'locations' is reserved.")
    if len(parts) != 1 or not parts[0] or any(character.isspace() for character in parts[0]):
        raise ParseError(f"Invalid JSON pointer for this resource: '{path[:64]}'.")
    return parts[0]


def changes_of(image: Image, steps: list[Step]) -> dict[str, Any]:
    """The model's fields with their new values. Raises PermissionDenied, ParseError and Conflict (409)."""
    changes: dict[str, Any] = {}
    properties = dict(image.properties)
    for step in steps:
        check_settable(step.name)
        if step.name in PROPERTIES:
            changes[MODEL_FIELDS[step.name]] = _base(step)
        else:
            _custom(properties, step)
    if properties != image.properties:
        changes["properties"] = properties
    return changes


def _base(step: Step) -> Any:
    if step.name == "id":
        raise PermissionDenied("Attribute 'id' is read-only.")
    if step.verb == "remove":
        raise PermissionDenied(f"Property {step.name} may not be removed.")
    check_value(step.name, step.value)
    return step.value


def _custom(properties: dict[str, str], step: Step) -> None:
    if step.verb != "add" and step.name not in properties:
        raise Conflict(f"Property {step.name[:64]} does not exist.")
    if step.verb == "remove":
        del properties[step.name]
        return
    check_value(step.name, step.value)
    properties[step.name] = step.value
