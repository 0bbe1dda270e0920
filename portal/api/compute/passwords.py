"""The password of a guest's administrator: the caller's, or one made up here; a config drive takes it there."""

from __future__ import annotations

import secrets
import string
from typing import Any

from django.conf import settings

ALPHABET = string.ascii_letters + string.digits


def admin_password(data: dict[str, Any]) -> str | None:
    """What the body's ``adminPass`` says, or twelve random characters; None where those would be told to nobody."""
    if given := data.get("adminPass"):
        return str(given)
    return "".join(secrets.choice(ALPHABET) for _ in range(12)) if settings.ENABLE_INSTANCE_PASSWORD else None


def told(password: str | None) -> dict[str, str]:
    """What an answer says of it: nothing, where ``ENABLE_INSTANCE_PASSWORD`` is off."""
    return {"adminPass": password} if password and settings.ENABLE_INSTANCE_PASSWORD else {}
