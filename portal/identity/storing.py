"""What all writes of identity share: names that are taken, immutable resources, options, who must hear of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Model

from portal.identity import signals
from portal.identity.errors import Conflict, Invalid, NotAllowed

RESOURCE_OPTIONS = frozenset({"immutable"})
USER_OPTIONS = frozenset(
    {
        "ignore_change_password_upon_first_use",
        "ignore_password_expiry",
        "ignore_lockout_failure_attempts",
        "ignore_user_inactivity",
        "lock_password",
    }
)


def store(row: Any, kind: str, fields: Iterable[str] | None = None, project_id: str = "") -> None:
    """Save a new row, or these fields of one, and tell of it. Raises Conflict when its name is taken."""
    try:
        with transaction.atomic():
            row.save(update_fields=None if fields is None else list(fields), force_insert=fields is None)
            signals.changed.send(type(row), kind=kind, object_id=row.pk, project_id=project_id)
    except IntegrityError as error:
        domain = getattr(row, "domain_id", None)
        where = f" at domain ID {domain}" if domain else ""
        raise Conflict(
            f"Conflict occurred attempting to store {kind} - Duplicate entry found with name {row.name}{where}."
        ) from error


def remove(row: Model, kind: str, project_id: str = "") -> None:
    """Delete a row with what belongs to it, and tell of it. Raises django's ProtectedError."""
    with transaction.atomic():
        signals.changed.send(type(row), kind=kind, object_id=row.pk, project_id=project_id)
        row.delete()


def assign(row: Any, changes: dict[str, Any]) -> list[str]:
    """Put new values onto a row; the names of the fields that they went to."""
    for name, value in changes.items():
        setattr(row, name, value)
    return list(changes)


def merged_options(present: dict[str, Any], changes: dict[str, Any], allowed: frozenset[str]) -> dict[str, Any]:
    """Options after a change; null takes one away. Raises Invalid for one that does not exist here."""
    for name, value in changes.items():
        if name not in allowed:
            raise Invalid(f"The option {name} is not supported. Supported are: {', '.join(sorted(allowed))}.")
        if not isinstance(value, bool | None):
            raise Invalid(f"The option {name} must be true, false or null.")
    after = {**present, **changes}
    return {name: value for name, value in after.items() if value is not None}


def check_mutable(row: Any, kind: str, changes: dict[str, Any] | None = None) -> None:
    """Raise NotAllowed for an immutable resource, unless the change itself ends that."""
    freed = changes is not None and changes.get("options", {}).get("immutable", True) in (False, None)
    if row.options.get("immutable") and not freed:
        raise NotAllowed(f"change or delete the immutable {kind} {row.pk}. Set its option immutable to false first.")
