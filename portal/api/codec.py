"""JSON in, JSON out, quickly. Settings name these classes, so nothing here imports views: these read the settings."""

from __future__ import annotations

import re
from typing import IO, Any

import orjson
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

BODY_CAP_BYTES = 4 << 20
# Far more than any call's body has, and far less than what writing it down again would stumble over.
DEEPEST = 64
# As JSON writes it. It is no part of any name or text, and PostgreSQL cannot store it.
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class JSONParser(BaseParser):
    """A JSON object, and nothing else, of a bounded size (OSSA-2012-003 and its kin)."""

    media_type = "*/*"

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> Any:
        """The body as a dict or list. Raises ParseError with a sentence for the caller."""
        raw = stream.read(BODY_CAP_BYTES + 1)
        if len(raw) > BODY_CAP_BYTES:
            raise ParseError("The request body is larger than 4 MiB.")
        if not raw.strip():
            return {}
        if NUL.search(raw):
            raise ParseError("The request body holds the character NUL.")
        try:
            read = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"The request body is not valid JSON: {error}.") from error
        if raw.count(b"[") + raw.count(b"{") > DEEPEST and _is_deeper(read, DEEPEST):
            raise ParseError(f"The request body is nested more than {DEEPEST} levels deep.")
        return read


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_is_deeper(one, levels - 1) for one in inner))


class JSONRenderer(BaseRenderer):
    """orjson: a thousand servers in a few milliseconds."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """The bytes; nothing for None."""
        return b"" if data is None else orjson.dumps(data, default=str)


class OnlyJSON(BaseContentNegotiation):
    """OpenStack's APIs answer JSON whatever the client says that it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """The first parser."""
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        """The first renderer."""
        return renderers[0], renderers[0].media_type
