"""Key pairs: list, import or make, show, delete."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import Invalid, NotFound
from compute.keypairs import delete_key, generate_key, import_key
from compute.models import KeyPair
from portal.api.body import Body, StrictCharField
from portal.api.compute.base import ComputeView, call
from portal.api.paging import limit_of, next_link
from portal.api.shape import Shape, field
from portal.api.wire import HeadersOnly, microseconds
from portal.identity.policy import enforce

NAME = re.compile(r"[a-zA-Z0-9_\- ]+")
NAME_SINCE_2_92 = re.compile(r"[a-zA-Z0-9_\- @.]+")
OTHER_USER = "os_compute_api:os-keypairs:other_user"

BRIEF: Shape[KeyPair] = Shape(
    field("name", lambda row, view: row.name),
    field("public_key", lambda row, view: row.public_key),
    field("fingerprint", lambda row, view: row.fingerprint),
    field("type", lambda row, view: row.type, since="2.2"),
)
FULL: Shape[KeyPair] = Shape(
    *BRIEF.fields,
    field("user_id", lambda row, view: row.user_id),
    field("id", lambda row, view: row.id),
    field("created_at", lambda row, view: microseconds(row.created_at)),
    field("updated_at", lambda row, view: None),
    field("deleted_at", lambda row, view: None),
    field("deleted", lambda row, view: False),
)
SHAPES = (BRIEF, FULL)


class KeyPairBody(Body):
    """POST /os-keypairs."""

    name = StrictCharField(min_length=1, max_length=255, trim_whitespace=False)
    public_key = StrictCharField(required=False, trim_whitespace=False)
    type = serializers.ChoiceField(["ssh", "x509"], required=False)
    user_id = StrictCharField(required=False, max_length=255)
    since: ClassVar[dict[str, str]] = {"type": "2.2", "user_id": "2.10"}


class KeyPairs(ComputeView):
    """/os-keypairs"""

    @call("os_compute_api:os-keypairs:index")
    def get(self, request: Request) -> Response:
        """List one's key pairs."""
        self.known_query("user_id", "limit", "marker")
        rows = KeyPair.objects.filter(user_id=whose(self)).order_by("name")
        if not self.at("2.35"):
            return Response({"keypairs": [{"keypair": BRIEF.render(row, self.version)} for row in rows]})
        limit = limit_of(request.query_params)
        if marker := request.query_params.get("marker"):
            if not rows.filter(name=marker).exists():
                raise ParseError(f"marker [{marker[:60]}] not found")
            rows = rows.filter(name__gt=marker)
        found = list(rows[:limit])
        body: dict[str, Any] = {"keypairs": [{"keypair": BRIEF.render(row, self.version)} for row in found]}
        if found and len(found) == limit:
            body["keypairs_links"] = [next_link(request.path, request.query_params, found[-1].name)]
        return Response(body)

    @call("os_compute_api:os-keypairs:create")
    def post(self, request: Request) -> Response:
        """Import a public key; up to 2.91 make a pair where none is given."""
        if set(self.body) != {"keypair"}:
            raise ParseError("The body must hold 'keypair' and nothing else.")
        data = KeyPairBody.read(self.body["keypair"], self.version)
        name, kind, user_id = data["name"], data.get("type", "ssh"), data.get("user_id")
        self._check_name(name)
        secret: dict[str, str] = {}
        if "public_key" in data:
            pair = import_key(self.actor, name=name, public_key=data["public_key"], kind=kind, user_id=user_id)
        elif self.at("2.92"):
            raise ParseError("Invalid input for field/attribute keypair. 'public_key' is a required property")
        else:
            pair, secret["private_key"] = generate_key(self.actor, name=name, kind=kind, user_id=user_id)
        body = {**BRIEF.render(pair, self.version), "user_id": pair.user_id, **secret}
        return Response({"keypair": body}, status=201 if self.at("2.2") else 200)

    def _check_name(self, name: str) -> None:
        allowed = NAME_SINCE_2_92 if self.at("2.92") else NAME
        if name != name.strip() or not allowed.fullmatch(name):
            raise Invalid("Keypair data is invalid: Keypair name contains unsafe characters")


class KeyPairView(ComputeView):
    """/os-keypairs/{name}"""

    @call("os_compute_api:os-keypairs:show")
    def get(self, request: Request, name: str) -> Response:
        """Show a key pair."""
        return Response({"keypair": FULL.render(find_key_pair(self, name), self.version)})

    @call("os_compute_api:os-keypairs:delete")
    def delete(self, request: Request, name: str) -> HeadersOnly:
        """Delete a key pair."""
        delete_key(self.actor, find_key_pair(self, name))
        return HeadersOnly(204 if self.at("2.2") else 202)


def whose(view: ComputeView) -> str:
    """The user whose key pairs are meant: the caller, or the one that an administrator names (2.10)."""
    named = view.request.query_params.get("user_id") if view.at("2.10") else None
    if named is None or named == view.actor.user_id:
        return view.actor.user_id
    enforce(view.actor, OTHER_USER)
    return named


def find_key_pair(view: ComputeView, name: str) -> KeyPair:
    """The key pair of the path. Raises NotFound."""
    view.known_query("user_id")
    owner = whose(view)
    found = KeyPair.objects.filter(user_id=owner, name=name).first()
    if found is None:
        raise NotFound(f"Keypair {name} not found for user {owner}")
    return found
