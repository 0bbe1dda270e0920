"""Options of filters and weighers: declared with a type, so that pages and APIs check what they are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

LONGEST_TEXT = 4096
MOST_ENTRIES = 1000


class BadOption(ValueError):
    """A value that an option cannot have; the sentence says why."""


@dataclass(frozen=True)
class Option:
    """One option: its name in the field, its type, its default, and one sentence."""

    name: str
    kind: Literal["integer", "number", "text", "flag", "list"]
    default: Any
    sentence: str
    minimum: float | None = None

    def clean(self, given: Any) -> Any:
        """The value as it is kept. Raises BadOption."""
        try:
            value = _READERS[self.kind](given)
        except (TypeError, ValueError) as error:
            raise BadOption(f"{self.name} is {_WANTED[self.kind]}.") from error
        if self.minimum is not None and value < self.minimum:
            raise BadOption(f"{self.name} is at least {self.minimum:g}.")
        return value


_WANTED = {
    "integer": "a whole number",
    "number": "a number",
    "text": f"a text of at most {LONGEST_TEXT} characters",
    "flag": "true or false",
    "list": f"a list of at most {MOST_ENTRIES} texts",
}


def _integer(given: Any) -> int:
    if isinstance(given, bool) or (isinstance(given, float) and not given.is_integer()):
        raise ValueError
    number = int(given)
    if abs(number) > 2**53:
        raise ValueError
    return number


def _number(given: Any) -> float:
    if isinstance(given, bool) or not math.isfinite(number := float(given)):
        raise ValueError
    return number


def _text(given: Any) -> str:
    if not isinstance(given, str) or len(given) > LONGEST_TEXT or "\x00" in given:
        raise ValueError
    return given.strip()


def _flag(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError
    return given


def _list(given: Any) -> list[str]:
    entries = given.replace(",", "\n").split("\n") if isinstance(given, str) else given
    if not isinstance(entries, list | tuple) or len(entries) > MOST_ENTRIES:
        raise ValueError
    return [text for entry in entries if (text := _text(entry))]


_READERS: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "text": _text,
    "flag": _flag,
    "list": _list,
}


def clean(options: tuple[Option, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """All values, defaults for those not given. Raises BadOption, also for a name that is no option."""
    known = {one.name: one for one in options}
    if unknown := sorted(set(given) - set(known)):
        raise BadOption(f"{unknown[0]} is no option here.")
    return {name: one.clean(given[name]) if name in given else one.default for name, one in known.items()}
