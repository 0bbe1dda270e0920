"""Who is calling: the token in ``X-Auth-Token``, and nothing else.

Headers that a proxy in front of OpenStack's own services sets (X-Roles, X-User-Id, …) are ignored.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from portal.identity.credentials import allows_request
from portal.identity.models import User
from portal.identity.tokens import InvalidToken, Token, read
from portal.requestid import identify

UNAUTHORIZED = "The request you have made requires authentication."


class TokenAuthentication(BaseAuthentication):
    """Keystone's way: a token in a header."""

    def authenticate(self, request: Request) -> tuple[User, Token] | None:
        """The user and the token, or None without a token. Raises NotAuthenticated for a bad one."""
        text = request.headers.get("X-Auth-Token", "")
        if not text:
            return None
        try:
            token = read(text)
        except InvalidToken as error:
            raise NotAuthenticated(UNAUTHORIZED) from error
        if not allows_request(token, request.method or "", request.path):
            raise NotAuthenticated(UNAUTHORIZED)  # keystonemiddleware's answer to a request off the rules
        identify(token.actor.user_name, token.actor.project_name or "-")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """What a 401 says of where tokens come from."""
        from django.conf import settings

        return f'Keystone uri="{settings.PUBLIC_URL}/identity"'


class HasToken(BasePermission):
    """The default of every API view: no token, no answer."""

    message = UNAUTHORIZED

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether a valid token came with the request."""
        if request.auth is None:
            raise NotAuthenticated(UNAUTHORIZED)
        return True


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its registry is untyped
    """How the OpenAPI schema names the token."""

    target_class = "portal.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """A header."""
        return {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}
