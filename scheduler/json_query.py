"""Expressions such as ``["and", [">=", "$free_ram_mb", 1024], ["=", "$cpu_info.arch", "x86_64"]]``.

Nova's JsonFilter has the operators =, <, >, in, <=, >=, not, or, and. Here size and depth are
bounded, what is not an expression is refused before anything is placed, and what cannot be
compared is false.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from typing import Any

from scheduler.attributes import NAMES

LONGEST = 4096
DEEPEST = 10
MOST_PARTS = 200
Lookup = Callable[[list[str]], Any]
Part = Callable[[Lookup], Any]
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_LOGIC = ("not", "or", "and")
OPERATORS = (*_COMPARE, "in", *_LOGIC)


class BadQuery(ValueError):
    """The hint is no expression; the sentence says why."""


def check(query: Any) -> None:
    """Raise BadQuery for what is no expression."""
    compiled(query)


def compiled(query: Any) -> Callable[[Lookup], bool]:
    """The expression, ready to be asked of many hosts. ``query`` is JSON, as text or read. Raises BadQuery."""
    text = query if isinstance(query, str) else json.dumps(query)
    if len(text) > LONGEST:
        raise BadQuery(f"The hint query has at most {LONGEST} characters.")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadQuery("The hint query is not JSON.") from error
    if not isinstance(read, list):
        raise BadQuery("The hint query is a list that begins with an operator.")
    part = _Compiler().part(read, 0)
    return lambda lookup: _truth(part(lookup))


def _truth(result: Any) -> bool:
    return any(result) if isinstance(result, list) else bool(result)


class _Compiler:
    def __init__(self) -> None:
        self.parts = 0

    def part(self, given: Any, depth: int) -> Part:
        self.parts += 1
        if depth > DEEPEST or self.parts > MOST_PARTS:
            raise BadQuery(f"The hint query is at most {DEEPEST} lists deep and has at most {MOST_PARTS} parts.")
        if isinstance(given, list):
            return self._expression(given, depth)
        if isinstance(given, dict):
            raise BadQuery("The hint query holds lists, texts and numbers, and no object.")
        if isinstance(given, str) and given.startswith("$"):
            return _attribute(given)
        return lambda lookup: given

    def _expression(self, given: list[Any], depth: int) -> Part:
        name, *rest = given or [""]
        if not isinstance(name, str) or name not in OPERATORS:
            raise BadQuery(f"The hint query knows the operators {', '.join(OPERATORS)}, not {str(name)[:40]!r}.")
        if not rest:
            raise BadQuery(f"The operator {name} of the hint query needs something to work on.")
        if name not in _LOGIC and len(rest) < 2:
            raise BadQuery(f"The operator {name} of the hint query compares two values at the least.")
        parts = [self.part(one, depth + 1) for one in rest]
        if name == "in":
            return lambda lookup: _is_in(*[part(lookup) for part in parts])
        if name in _COMPARE:
            return _comparison(_COMPARE[name], parts)
        return _logic(name, parts)


def _attribute(given: str) -> Part:
    path = given[1:].split(".")
    if path[0] not in NAMES:
        raise BadQuery(f"The hint query asks for {given[:80]!r}; hosts have {', '.join(sorted(NAMES))}.")
    return lambda lookup: lookup(path)


def _comparison(compare: Callable[[Any, Any], bool], parts: list[Part]) -> Part:
    def holds(lookup: Lookup) -> bool:
        first, *others = [part(lookup) for part in parts]
        try:
            return all(compare(first, other) for other in others)
        except TypeError:
            return False

    return holds


def _is_in(first: Any, *others: Any) -> bool:
    return any(first in other if isinstance(other, list | frozenset) else first == other for other in others)


def _logic(name: str, parts: list[Part]) -> Part:
    if name == "not":
        return lambda lookup: [not _truth(part(lookup)) for part in parts]
    combine = any if name == "or" else all
    return lambda lookup: combine(_truth(part(lookup)) for part in parts)
