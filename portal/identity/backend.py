"""Logging in to the pages: a name within a domain, and a password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.hashers import check_password, make_password
from django.http import HttpRequest

from portal.identity.models import User

PASSWORD_MAX_LENGTH = 4096


def verify_password(user: User | None, password: str) -> bool:
    """Whether this is the user's password.

    Takes as long for a user that is not there (None), so that time tells nobody which names exist
    (OSSA-2021-003), and refuses a password too long to be one before hashing it.
    """
    if len(password) > PASSWORD_MAX_LENGTH:
        return False
    if user is None:
        make_password(password)
        return False
    if not check_password(password, user.password):
        return False
    return user.is_active


class IdentityBackend:
    """Django's way in to ``verify_password``."""

    def authenticate(
        self, request: HttpRequest | None, username: str = "", password: str = "", domain: str = "Default", **_: Any
    ) -> User | None:
        """The user, or None."""
        user = User.objects.select_related("domain").filter(name=username, domain__name=domain or "Default").first()
        return user if verify_password(user, password) else None

    def get_user(self, user_id: str) -> User | None:
        """The user of a session, unless disabled since."""
        user = User.objects.select_related("domain").filter(pk=user_id).first()
        return user if user is not None and user.is_active else None
