"""Reading request bodies: strict types, and fields that exist in an interval of versions.

OpenStack's APIs refuse ``"name": 12345`` and unknown keys with a 400; DRF's own fields would convert
the first and ignore the second.
"""

from __future__ import annotations

import copy
import ipaddress
from typing import Any, ClassVar
from uuid import UUID

from rest_framework import serializers

from portal.api.versions import Version, between

MADE_OF_FIELDS = (serializers.BaseSerializer, serializers.ListField, serializers.DictField)


class StrictCharField(serializers.CharField):
    """Text, and only text."""

    def to_internal_value(self, data: Any) -> str:
        """Refuse numbers and booleans, and what cannot be printed or stored."""
        if not isinstance(data, str):
            self.fail("invalid")
        if "\x00" in data:
            raise serializers.ValidationError("It must not hold the character NUL.")
        return super().to_internal_value(data)


class UUIDText(StrictCharField):
    """A UUID as text."""

    def to_internal_value(self, data: Any) -> Any:
        """The UUID. Raises ValidationError."""
        text = super().to_internal_value(data)
        try:
            return UUID(text)
        except ValueError as error:
            raise serializers.ValidationError(f"'{text[:64]}' is not a valid UUID.") from error


class AddressText(StrictCharField):
    """An IP address as text."""

    def to_internal_value(self, data: Any) -> str:
        """The address as it is written in full. Raises ValidationError."""
        text = super().to_internal_value(data)
        try:
            return str(ipaddress.ip_address(text))
        except ValueError as error:
            raise serializers.ValidationError(f"'{text[:64]}' is not a valid IP address.") from error


class StrictIntegerField(serializers.IntegerField):
    """An integer, or its decimal digits as text (Nova takes both); never a boolean or a fraction."""

    def to_internal_value(self, data: Any) -> int:
        """Refuse the rest."""
        if isinstance(data, bool) or not isinstance(data, int | str) or (isinstance(data, str) and len(data) > 20):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictFloatField(serializers.FloatField):
    """A number; never text or a boolean."""

    def to_internal_value(self, data: Any) -> float:
        """Refuse the rest."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """A boolean, or the words that oslo's strutils takes for one."""

    WORDS: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
        **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
    }

    def to_internal_value(self, data: Any) -> bool:
        """Refuse anything that is neither."""
        if isinstance(data, bool):
            return data
        if isinstance(data, str) and data.lower() in self.WORDS:
            return self.WORDS[data.lower()]
        self.fail("invalid", input=data)


def own(field: Any) -> Any:
    """A declared field for one reader. DRF makes each anew, which takes longer than reading most bodies."""
    return copy.deepcopy(field) if isinstance(field, MADE_OF_FIELDS) else copy.copy(field)


class Body(serializers.Serializer[Any]):
    """A closed object: keys that it does not declare are an error.

    ``since`` and ``until`` bound fields to versions; a field outside of its interval is unknown.
    """

    since: ClassVar[dict[str, str]] = {}
    until: ClassVar[dict[str, str]] = {}

    def get_fields(self) -> dict[str, Any]:
        """The fields of the version in the context; all without one."""
        version: Version | None = self.context.get("version")
        return {name: own(one) for name, one in self._declared_fields.items() if self._has(name, version)}

    def _has(self, name: str, version: Version | None) -> bool:
        since, until = self.since.get(name), self.until.get(name)
        return version is None or (since is until is None) or between(version, since or "1.0", until)

    def to_internal_value(self, data: Any) -> Any:
        """Refuse unknown keys."""
        if not isinstance(data, dict):
            raise serializers.ValidationError({"non_field_errors": ["The body must be an object."]})
        if unknown := sorted(str(key) for key in set(data) - set(self.fields)):
            sentence = f"Additional properties are not allowed ({', '.join(unknown)})."
            raise serializers.ValidationError({"non_field_errors": [sentence]})
        return super().to_internal_value(data)

    @classmethod
    def read(cls, data: Any, version: Version | None = None, **context: Any) -> dict[str, Any]:
        """The validated body. Raises ValidationError (400)."""
        reader = cls(data=data, context={"version": version, **context})
        reader.is_valid(raise_exception=True)
        return dict(reader.validated_data)
