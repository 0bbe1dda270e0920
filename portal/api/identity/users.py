"""Users."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.authentication import UNAUTHORIZED
from portal.api.identity import shapes
from portal.api.identity.base import IdentityView
from portal.api.identity.bodies import PasswordBody, UserBody, UserUpdate
from portal.api.identity.tokens import projects_of
from portal.api.wire import HeadersOnly
from portal.identity.errors import NotAllowed, NotFound, Unauthorized
from portal.identity.models import User
from portal.identity.users import change_password, create_user, delete_user, update_user


def _stored(given: dict[str, Any]) -> dict[str, Any]:
    """An e-mail address of null is none."""
    return {**given, "email": given["email"] or ""} if "email" in given else given


class Users(IdentityView):
    """All users."""

    def get(self, request: Request) -> Response:
        """By name; filters name, domain_id and enabled."""
        self.enforce("list_users", domain_id=self.actor.domain_id)
        rows = self.filtered(User.objects.order_by("name"), "name", "domain_id", "enabled")
        if self.actor.domain_id:
            rows = rows.filter(domain_id=self.actor.domain_id)
        return self.listed("users", rows, shapes.user)

    def post(self, request: Request) -> Response:
        """Create; without a domain in that of the token."""
        self.enforce("create_user")
        given = UserBody.read(self.wrapped("user"))
        domain_id = given.pop("domain_id", None) or self.actor.domain_id or self.actor.project_domain_id
        user = create_user(domain_id=domain_id, **_stored(given))
        return Response({"user": shapes.user(user)}, status=201)


class UserView(IdentityView):
    """What is below one user."""

    def user(self, user_id: str, rule: str) -> User:
        """The user that the caller may see or change."""
        return self.found(User.objects.all(), "user", user_id, rule, user_id=user_id)


class OneUser(UserView):
    """One user."""

    def get(self, request: Request, user_id: str) -> Response:
        """Show."""
        return Response({"user": shapes.user(self.user(user_id, "get_user"))})

    def patch(self, request: Request, user_id: str) -> Response:
        """Change."""
        user = self.user(user_id, "update_user")
        changes = self.read_changes("user", UserUpdate, user_id)
        if changes.pop("domain_id", user.domain_id) != user.domain_id:
            raise NotAllowed("move a user to another domain.")
        return Response({"user": shapes.user(update_user(user, _stored(changes)))})

    def delete(self, request: Request, user_id: str) -> HeadersOnly:
        """Delete."""
        delete_user(self.user(user_id, "delete_user"))
        return HeadersOnly(204)


class UserPassword(IdentityView):
    """A user's own change of password; the old one is the right to it."""

    def post(self, request: Request, user_id: str) -> HeadersOnly:
        """Change. All tokens of the user end."""
        given = PasswordBody.read(self.wrapped("user"))
        user = User.objects.select_related("domain").filter(pk=user_id).first()
        try:
            change_password(user, given["original_password"], given["password"])
        except Unauthorized as error:
            raise NotAuthenticated(UNAUTHORIZED) from error
        return HeadersOnly(204)


class UserProjects(UserView):
    """The projects that a user can work in."""

    def get(self, request: Request, user_id: str) -> Response:
        """By name."""
        self.user(user_id, "list_user_projects")
        rows = self.filtered(projects_of(user_id), "name", "domain_id", "enabled")
        return self.listed("projects", rows, shapes.project)


class UserGroups(UserView):
    """The groups that a user is in: none, since there are no groups."""

    def get(self, request: Request, user_id: str) -> Response:
        """The empty list."""
        self.user(user_id, "list_groups_for_user")
        return self.collection("groups", [])


class Groups(IdentityView):
    """Groups of users, which Nacelle does not have: the list is there for clients that look."""

    def get(self, request: Request) -> Response:
        """The empty list."""
        self.enforce("list_groups", domain_id=self.actor.domain_id)
        return self.collection("groups", [])


class OneGroup(IdentityView):
    """One group: there is none."""

    def get(self, request: Request, group_id: str) -> Response:
        """Not found."""
        self.enforce("list_groups", domain_id=self.actor.domain_id)
        raise NotFound("group", group_id)
