"""Microversions: parsing both headers, the range that is served, and fields as steps of a version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.http import HttpRequest
from rest_framework.exceptions import APIException, ParseError

HEADER = "OpenStack-API-Version"
NOVA_HEADER = "X-OpenStack-Nova-API-Version"
_FORM = re.compile(r"([1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)


@dataclass(frozen=True, order=True)
class Version:
    """A microversion, ``major.minor``; compares by number, not by text."""

    major: int
    minor: int

    @classmethod
    @lru_cache(maxsize=512)
    def parse(cls, text: str) -> Version:
        """Read ``2.93``. Raises ValueError."""
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a version")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class OutOfRange(APIException):
    """The version is not served (HTTP 406)."""

    status_code = 406


@dataclass(frozen=True)
class Range:
    """What a service serves, and its name in the header."""

    service: str
    minimum: Version
    maximum: Version

    def asked(self, request: HttpRequest) -> Version:
        """The version that a request asks for: the least without a header, ``latest`` is the greatest.

        Raises ParseError (400) for nonsense and OutOfRange (406).
        """
        text = self._text(request)
        if text is None:
            return self.minimum
        if text == "latest":
            return self.maximum
        try:
            version = Version.parse(text)
        except ValueError as error:
            raise ParseError(
                f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
            ) from error
        if not self.minimum <= version <= self.maximum:
            raise OutOfRange(
                f"Version {version} is not supported by the API. "
                f"Minimum is {self.minimum} and maximum is {self.maximum}."
            )
        return version

    def _text(self, request: HttpRequest) -> str | None:
        for part in request.headers.get(HEADER, "").split(","):
            words = part.split()
            if len(words) == 2 and words[0].lower() == self.service:
                return words[1]
        if self.service == "compute":
            return request.headers.get(NOVA_HEADER)
        return None

    def headers(self, version: Version | None) -> dict[str, str]:
        """What every answer says of versions."""
        named = {"Vary": HEADER}
        if version is not None:
            named[HEADER] = f"{self.service} {version}"
        if self.service == "compute":
            named["Vary"] = f"{HEADER}, {NOVA_HEADER}"
            if version is not None:
                named[NOVA_HEADER] = str(version)
        return named


def between(version: Version, since: str, until: str | None = None) -> bool:
    """Whether a version lies in an interval, both ends in it."""
    return Version.parse(since) <= version and (until is None or version <= Version.parse(until))


class VersionedViewMixin:
    """For API views of a service with microversions: ``self.version``, and the headers on each answer.

    ``since`` and ``until`` bound a whole view: outside of them the path is not there (404).
    """

    range: Range
    since: str | None = None
    until: str | None = None
    version: Version

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """Read the version before anything else."""
        from django.http import Http404

        self.version = self.range.asked(request)
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # a mixin of views
        if not between(self.version, self.since or str(self.range.minimum), self.until):
            raise Http404("The resource could not be found.")

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Say which version answered."""
        response = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]  # as above
        for name, value in self.range.headers(getattr(self, "version", None)).items():
            response[name] = value
        return response
