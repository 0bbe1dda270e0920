"""The operators of extra specs and aggregate metadata: ``>= 4``, ``s== qemu``, ``<in> vmx``, ``<or> a <or> b``.

The semantics are Nova's (its user guide, "Flavors", extra specs): without an operator the texts are
equal; ``=`` means at least; the plain signs compare numbers, those with ``s`` texts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from typing import Any

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s>=": operator.ge,
    "s>": operator.gt,
    "s<=": operator.le,
    "s<": operator.lt,
}


def matches(value: Any, wanted: str) -> bool:
    """Whether a value (a text, a number, or a collection of texts) is as wanted; False for what cannot be compared."""
    words = wanted.split()
    name, rest = (words[0], words[1:]) if words else ("", [])
    if name == "<or>":
        return str(value) in [word for word in rest if word != "<or>"]
    if name in ("<in>", "<all-in>"):
        return bool(rest) and all(_holds(value, word) for word in rest if word != name)
    if name in _NUMBERS and len(rest) == 1:
        return _compare_numbers(_NUMBERS[name], value, rest[0])
    if name in _TEXTS and len(rest) == 1:
        return _TEXTS[name](str(value), rest[0])
    return str(value) == wanted


def _holds(value: Any, word: str) -> bool:
    if isinstance(value, Collection) and not isinstance(value, str):
        return word in value
    return word in str(value)


def _compare_numbers(compare: Callable[[float, float], bool], value: Any, wanted: str) -> bool:
    try:
        return compare(float(value), float(wanted))
    except (TypeError, ValueError):
        return False
