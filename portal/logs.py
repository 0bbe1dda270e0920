"""Logs in the one format of the field (oslo.log's), on standard error.

``2026-11-20 15:40:18.123 4711 INFO compute.operations.engine [req-… user project] text  file:line``
Tokens and passwords are masked whatever module writes them (OSSA-2020-001 and its kin).
"""

from __future__ import annotations

import logging
import logging.config
import re
import time
from typing import Any

MASKS = (
    (
        re.compile(r"(?i)((?:x-auth-token|x-subject-token|authorization|cookie)['\"]?\s*[:=]\s*['\"]?)[^\s'\",}]+"),
        r"\1***",
    ),
    (
        re.compile(
            r"(?i)(['\"]?(?:password|adminpass|admin_pass|secret|original_password)['\"]?\s*[:=]\s*['\"]?)[^\s'\",}&]+"
        ),
        r"\1***",
    ),
    (re.compile(r"(?i)([?&]token=)[^\s&\"']+"), r"\1***"),
    (re.compile(r"(\w+://[^/\s:@]+:)[^@\s/]+@"), r"\1***@"),
)


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
        line = (
            f"{moment}.{int(record.msecs):03d} {record.process} {record.levelname} {record.name} "
            f"[{who}] {record.getMessage()} {record.pathname.rsplit('/', 1)[-1]}:{record.lineno}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return mask(line)


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
