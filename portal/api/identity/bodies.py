"""What clients may send to the identity API."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from portal.api.body import Body, StrictCharField

EXTRA_CAP_BYTES = 16_384
TAG_PATTERN = r"^[^,/]+$"


class Text(StrictCharField):
    """Text that is kept as it comes: a password may begin with a space."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, "allow_blank": True, "max_length": 65_535, **options})


class Name(Text):
    """A name: something to see in it, and of a bounded length."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": 255, "allow_blank": False, **options})

    def to_internal_value(self, data: Any) -> str:
        """Refuse what looks empty."""
        value = super().to_internal_value(data)
        if not value.strip():
            raise ValidationError("It must not be empty.")
        return value


class Description(Text):
    """A description; null is none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "allow_null": True, **options})

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        """Null is stored as the empty text."""
        return super().validate_empty_values("" if data is None else data)


class Flag(serializers.Field[bool, Any, bool, Any]):
    """A JSON boolean, and nothing that could be taken for one."""

    def to_internal_value(self, data: Any) -> bool:
        """Refuse the rest."""
        if not isinstance(data, bool):
            raise ValidationError("It must be true or false.")
        return data

    def to_representation(self, value: bool) -> bool:
        """Itself."""
        return value


class Options(serializers.Field[dict[str, Any], Any, dict[str, Any], Any]):
    """Resource options: names and values, which the operation itself checks."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Refuse what is no object."""
        if not isinstance(data, dict):
            raise ValidationError("It must be an object.")
        return data

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        """Itself."""
        return value


class Tags(serializers.ListField):
    """Up to 80 different tags, without commas and slashes in them."""

    child = serializers.RegexField(TAG_PATTERN, max_length=255, trim_whitespace=False)

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": 80, **options})

    def to_internal_value(self, data: Any) -> list[str]:
        """Refuse tags that occur twice."""
        if not isinstance(data, list) or not all(isinstance(one, str) for one in data):
            raise ValidationError("It must be a list of texts.")
        tags: list[str] = super().to_internal_value(data)
        if len(set(tags)) != len(tags):
            raise ValidationError("Each tag may occur once.")
        return tags


class Updating(Body):
    """Of an update: no field is required, and none has a default."""

    def get_fields(self) -> dict[str, Any]:
        """The fields of the class below, each optional."""
        fields = super().get_fields()
        for one in fields.values():
            one.required = False
        return fields


class WithExtra(Body):
    """An object that keeps properties which it does not know, as Keystone's users and projects do.

    Clients rely on it (``openstack project create --property``). They end up in ``extra``.
    """

    reserved: ClassVar[frozenset[str]] = frozenset({"id", "links", "extra", "password_expires_at", "created_at"})

    def to_internal_value(self, data: Any) -> Any:
        """Split the known from the unknown; the unknown must be small."""
        if not isinstance(data, dict):
            raise ValidationError({"non_field_errors": ["The body must be an object."]})
        unknown = {str(key): value for key, value in data.items() if key not in self.fields}
        if refused := sorted(self.reserved & set(unknown)):
            raise ValidationError({name: ["It cannot be set."] for name in refused})
        if len(orjson.dumps(unknown)) > EXTRA_CAP_BYTES:
            sentence = f"Additional properties may take {EXTRA_CAP_BYTES} bytes together."
            raise ValidationError({"non_field_errors": [sentence]})
        value = super().to_internal_value({key: one for key, one in data.items() if key in self.fields})
        if unknown:
            value["extra"] = unknown
        return value


class DomainBody(Body):
    """A new domain."""

    name = Name(max_length=64)
    description = Description()
    enabled = Flag(required=False)
    options = Options(required=False)
    explicit_domain_id = serializers.RegexField(r"^[0-9a-f]{32}$", required=False)


class DomainUpdate(Updating):
    """Changes of a domain."""

    name = Name(max_length=64)
    description = Description()
    enabled = Flag()
    options = Options()


class ProjectBody(WithExtra):
    """A new project, or a new domain by way of one."""

    name = Name(max_length=64)
    description = Description()
    enabled = Flag(required=False)
    options = Options(required=False)
    tags = Tags(required=False)
    domain_id = Name(required=False, allow_null=True, max_length=64)
    parent_id = Name(required=False, allow_null=True, max_length=64)
    is_domain = Flag(required=False)


class ProjectUpdate(Updating, ProjectBody):
    """Changes of a project."""

    id = Name(max_length=64)


class UserBody(WithExtra):
    """A new user."""

    name = Name()
    password = Text(required=False, allow_null=True)
    email = Text(required=False, max_length=254, allow_null=True)
    description = Description()
    enabled = Flag(required=False)
    domain_id = Name(required=False, max_length=64)
    default_project_id = Name(required=False, allow_null=True, max_length=64)
    options = Options(required=False)


class UserUpdate(Updating, UserBody):
    """Changes of a user."""

    id = Name(max_length=64)


class PasswordBody(Body):
    """A user's own change of password."""

    password = Text()
    original_password = Text()


class RoleBody(Body):
    """A new role."""

    name = Name()
    description = Description()
    domain_id = Name(required=False, allow_null=True, max_length=64)
    options = Options(required=False)


class RoleUpdate(Updating, RoleBody):
    """Changes of a role."""


class RoleRef(Body):
    """A role by id or name."""

    id = Name(required=False)
    name = Name(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of the two is needed."""
        if not attrs:
            raise ValidationError("It needs an id or a name.")
        return attrs


class AccessRuleBody(Body):
    """A kind of request, or the id of a rule that is there."""

    id = Name(required=False)
    service = Name(required=False, max_length=64)
    method = serializers.ChoiceField(["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"], required=False)
    path = serializers.RegexField(r"^/[^\x00]*$", max_length=225, required=False, trim_whitespace=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Either the id, or the three others."""
        if "id" not in attrs and not {"service", "method", "path"} <= set(attrs):
            raise ValidationError("It needs an id, or a service, a method and a path.")
        return attrs


class CredentialBody(Body):
    """A new application credential."""

    name = Name()
    description = Description()
    secret = Text(required=False, allow_null=True)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    unrestricted = Flag(required=False, allow_null=True)
    roles = serializers.ListField(child=RoleRef(), required=False, allow_null=True, max_length=100)
    access_rules = serializers.ListField(child=AccessRuleBody(), required=False, allow_null=True, max_length=100)
    project_id = Name(required=False, allow_null=True)
