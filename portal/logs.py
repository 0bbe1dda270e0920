"""Logs in the one format of the field (oslo.log's), on standard error.

``2026-11-20 15:40:18.123 4711 INFO compute.operations.engine [req-… user project] text file:line``
Tokens and passwords are masked whatever module writes them (OSSA-2020-001 and its kin). What others
chose, a path or a name, can neither begin a line of its own nor speak to the reader's terminal.
"""

from __future__ import annotations

import logging
import logging.config
import re
import time
from typing import Any

# A value as it stands in JSON, in Python's repr, in a query or in a header. Every repetition here is
# possessive or begins at a word's edge: a line of 64 KiB that a stranger sent must not cost seconds.
_QUOTED = r"""(?:"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?)"""
_VALUE = rf"""(?:{_QUOTED}|[^\s'",;}}&]++)"""
_NAMES = r"(?:admin_?pass(?:word)?|password(?:_hash)?|secret(?:_key)?|private_key|auth_token|x-(?:auth|subject)-token)"
_HEADERS = r"(?:(?:proxy-)?authorization|(?:set-)?cookie)"
MASKS = (
    # A header that holds secrets to its end, whatever blanks are in it.
    (re.compile(rf"""(?i)\b({_HEADERS}['"]?\s*+[:=]\s*+)(?:{_QUOTED}|[^\r\n'"}}]++)"""), r"\1***"),
    (re.compile(rf"""(?i)({_NAMES}['"]?\s*+[:=]\s*+){_VALUE}"""), r"\1***"),
    (re.compile(rf"""(?i)(['"]token['"]\s*+:\s*+\{{\s*+['"]id['"]\s*+:\s*+){_VALUE}"""), r"\1***"),
    (re.compile(r"""(?i)((?:[?&]|%3f|%26)token(?:=|%3d))[^\s&"'%]++"""), r"\1***"),
    (re.compile(r"\b(\w{1,32}+://[^/\s:@]{0,256}+:)[^@\s/]{1,256}+@"), r"\1***@"),
    # A token of this cloud, wherever it stands.
    (re.compile(r"\.?\be[Jy][\w-]{20,}+:[\w-]{6}:[\w-]{43}"), "***"),
)
MOST_CHARACTERS = 8192
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_CONTROL |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def mask(text: str) -> str:
    """The text without the secrets that it may carry."""
    for pattern, replacement in MASKS:
        text = pattern.sub(replacement, text)
    return text


class Formatter(logging.Formatter):
    """One line a record: time to the millisecond, process, level, module, context, text, place."""

    def format(self, record: logging.LogRecord) -> str:
        from portal.requestid import current

        context = current()
        who = f"{context.request_id or '-'} {context.user} {context.project}"
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if len(text) > MOST_CHARACTERS:
            text = f"{text[:MOST_CHARACTERS]}… ({len(text)} characters)"
        line = (
            f"{moment}.{int(record.msecs):03d} {record.process} {record.levelname} {record.name} "
            f"[{who}] {text} {record.pathname.rsplit('/', 1)[-1]}:{record.lineno}"
        )
        lines = [mask(line).translate(_CONTROL)]
        if record.exc_info:
            lines.append(mask(self.formatException(record.exc_info)))
        return "\n".join(lines)


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG hook; ``config`` holds the level alone."""
    quiet = {"level": "WARNING"}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"field": {"()": Formatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "field"}},
            "root": {"handlers": ["stderr"], "level": config["level"]},
            "loggers": {
                "django.request": {"level": "ERROR"},
                "django-q": quiet,
                "uvicorn.access": quiet,
                "websockets": quiet,
                "asyncio": quiet,
            },
        }
    )
