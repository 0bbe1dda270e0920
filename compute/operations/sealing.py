"""Secrets in rows: sealed with a key made of ``SECRET_KEY``, which is not in the database."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from compute.errors import ComputeError


def _box() -> Fernet:
    key = hashlib.blake2b(settings.SECRET_KEY.encode(), digest_size=32, person=b"nacelle.sealing").digest()
    return Fernet(base64.urlsafe_b64encode(key))


def seal(values: dict[str, Any]) -> str:
    """The values, which JSON can hold, as a row may hold them."""
    return _box().encrypt(json.dumps(values).encode()).decode()


def unseal(sealed: str) -> dict[str, Any]:
    """The values again. Raises ComputeError when another ``SECRET_KEY`` sealed them."""
    try:
        values: dict[str, Any] = json.loads(_box().decrypt(sealed.encode()))
    except InvalidToken as error:
        raise ComputeError("The secret was sealed under another secret key; ask again.") from error
    return values
