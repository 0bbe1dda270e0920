"""Patterns of users: the useful part of a regular expression, matched in bounded time.

Nova hands ``?name=`` to the database as a regular expression. A few characters of one can keep a
matcher busy for minutes, so here a pattern has anchors (``^``, ``$``), any character (``.``) and any
text (``.*``); ``\\`` takes the next character as it is, and everything else means itself.
"""

from __future__ import annotations

import re

from django.db import connection
from rest_framework.exceptions import ParseError

MAX_LENGTH = 255


def safe_pattern(text: str) -> str:
    """A regular expression for the database that matches in time linear in pattern and value.

    Raises ParseError for a pattern that is too long.
    """
    if len(text) > MAX_LENGTH:
        raise ParseError(f"The pattern is longer than {MAX_LENGTH} characters.")
    starts, ends = text.startswith("^"), text.endswith("$") and not text.endswith("\\$")
    parts = _parts(text[starts : len(text) - ends])
    if connection.vendor != "sqlite":  # PostgreSQL's matcher does not backtrack
        body = ".*".join(parts)
        return ("^" if starts else "") + body + ("$" if ends else "")
    # Python's does: each part but the last takes its first match and never gives it back.
    head = ("^" if starts else "") + parts[0]
    middle = "".join(f"(?>.*?{part})" for part in parts[1:-1])
    last = f".*{'?' if not ends else ''}{parts[-1]}" if len(parts) > 1 else ""
    return head + middle + last + ("$" if ends else "")


def _parts(text: str) -> list[str]:
    """The pieces between ``.*``, each with its characters escaped."""
    parts = [""]
    index = 0
    while index < len(text):
        if text.startswith(".*", index):
            if parts[-1] or len(parts) == 1:
                parts.append("")
            index += 2
        elif text[index] == "\\" and index + 1 < len(text):
            parts[-1] += re.escape(text[index + 1])
            index += 2
        else:
            parts[-1] += "." if text[index] == "." else re.escape(text[index])
            index += 1
    return parts
