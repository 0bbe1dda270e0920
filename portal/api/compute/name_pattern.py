"""Patterns of users: the useful part of a regular expression, matched in time linear in the text.

Nova hands ``?name=`` to the database as a regular expression, and a few characters of one can keep a
backtracking matcher busy for minutes. Here a pattern has anchors (``^``, ``$``), any character
(``.``), classes (``[0-9]``, ``\\d``, ``\\w``, ``\\s``), and repetition of one character (``*``,
``+``, ``?``); ``\\`` takes the next character as it is, and everything else means itself. Capitals and
small letters are the same. PostgreSQL's own matcher does not backtrack for these; SQLite is given one
that follows all states at once (Baeza-Yates and Gonnet's Shift-And, with Navarro's repetitions).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.db import connection
from django.db.models import BooleanField, F, Func, Q, Value
from rest_framework.exceptions import ParseError

MAX_LENGTH = 255
CLASS = re.compile(r"\[\^?[\w\-. @:]+\]")
SHORTHANDS = frozenset("dDwWsS")
# What follows a character: whether it may be missing, and whether it may come again.
SIGNS = {"*": (True, True), "?": (True, False), "+": (False, True)}
FUNCTION = "nacelle_matches"


@dataclass(frozen=True)
class Item:
    """One character wanted, as the regular expression of a single character, and how often."""

    text: str
    optional: bool = False
    repeats: bool = False

    def __str__(self) -> str:
        signs = [sign for sign, meaning in SIGNS.items() if meaning == (self.optional, self.repeats)]
        return self.text + "".join(signs)


@dataclass
class Pattern:
    """A pattern that was read. A set of states is a number: bit *i* says that *i* items are behind."""

    items: tuple[Item, ...]
    starts: bool
    ends: bool
    masks: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.optional = sum(1 << index for index, item in enumerate(self.items) if item.optional)
        self.repeats = sum(1 << index for index, item in enumerate(self.items) if item.repeats)

    def __str__(self) -> str:
        return ("^" if self.starts else "") + "".join(map(str, self.items)) + ("$" if self.ends else "")

    def matches(self, text: str) -> bool:
        """Whether the pattern is found in the text."""
        first, last = self._closed(1), 1 << len(self.items)
        states = first
        for character in text:
            if states & last and not self.ends:
                return True
            hit = states & self._mask(character)
            states = self._closed((hit << 1) | (hit & self.repeats))
            if not self.starts:
                states |= first
        return bool(states & last)

    def _closed(self, states: int) -> int:
        """The states, and those that follow when optional items are left out."""
        while (more := states | ((states & self.optional) << 1)) != states:
            states = more
        return states

    def _mask(self, character: str) -> int:
        """The items that this character can be."""
        if character not in self.masks:
            self.masks[character] = sum(
                1 << index
                for index, item in enumerate(self.items)
                if re.fullmatch(item.text, character, re.IGNORECASE | re.DOTALL)
            )
        return self.masks[character]


@lru_cache(maxsize=64)
def read(text: str) -> Pattern:
    """The pattern that a user wrote. Nothing is an error in it."""
    starts, ends = text.startswith("^"), text.endswith("$") and not text.endswith("\\$")
    body, items, index = text[starts : len(text) - ends], [], 0
    while index < len(body):
        one, index = _one(body, index)
        optional, repeats = SIGNS.get(body[index : index + 1], (False, False))
        index += optional or repeats
        items.append(Item(one, optional, repeats))
    return Pattern(tuple(items), starts, ends)


def _one(body: str, index: int) -> tuple[str, int]:
    """The expression of one character at ``index``, and where it ends."""
    character, following = body[index], body[index + 1 : index + 2]
    if character == ".":
        return ".", index + 1
    if character == "\\" and following:
        return (f"\\{following}" if following in SHORTHANDS else re.escape(following)), index + 2
    if character == "[" and (found := CLASS.match(body, index)) and _is_class(found[0]):
        return found[0], found.end()
    return re.escape(character), index + 1


def _is_class(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:  # a range that runs backwards
        return False
    return True


def found_in(column: str, text: str) -> Q:
    """The condition that a column matches a user's pattern. Raises ParseError for one that is too long."""
    if len(text) > MAX_LENGTH:
        raise ParseError(f"The pattern is longer than {MAX_LENGTH} characters.")
    pattern = read(text)
    if connection.vendor != "sqlite":
        return Q(**{f"{column}__iregex": str(pattern)})
    connection.ensure_connection()
    connection.connection.create_function(FUNCTION, 2, _matches, deterministic=True)
    condition: Any = Func(F(column), Value(text), function=FUNCTION, output_field=BooleanField())
    return Q(condition)


def _matches(value: str | None, text: str) -> bool:
    return value is not None and read(text).matches(value)
