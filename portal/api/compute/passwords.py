"""The password of a guest's administrator: the caller's, or one made up here; the config drive takes it to the guest."""

from __future__ import annotations

import secrets
import string
from typing import Any

from django.conf import settings

ALPHABET = string.ascii_letters + string.digits


def admin_password(data: dict[str, Any]) -> str:
    """What the body's ``adminPass`` says, or twelve random characters."""
    return data.get("adminPass") or "".join(secrets.choice(ALPHABET) for _ in range(12))


def told(password: str) -> dict[str, str]:
    """What an answer says of it: nothing, where ``ENABLE_INSTANCE_PASSWORD`` is off."""
    return {"adminPass": password} if settings.ENABLE_INSTANCE_PASSWORD else {}
