"""The operators of extra specs."""

from __future__ import annotations

import pytest

from scheduler.operators import matches


@pytest.mark.parametrize(
    ("value", "wanted", "is_so"),
    [
        ("1", "1", True), ("", "1", False), ("3", "1", False), ("222", "2", False),
        ("123", "= 123", True), ("124", "= 123", True), ("34", "= 234", False), ("34", "=", False), ("a", "= 1", False),
        ("123", "== 123", True), ("1.0", "== 1", True), ("34", "== 234", False), ("123", "!= 123", False),
        ("123", "!= 1", True), ("234", ">= 123", True), ("23", ">= 123", False), ("23", "<= 123", True),
        ("1000", "<= 999", False), ("123", "s== 123", True), ("2", "s== 123", False), ("1", "s!= 2", True),
        ("b", "s> a", True), ("a", "s> b", False), ("a", "s>= a", True), ("a", "s< b", True), ("b", "s<= a", False),
        ("12310321", "<in> 123", True), ("123", "<in> 456", False),
        (["a", "bc"], "<in> bc", True), (["a", "bc"], "<in> b", False), ("x", "<in>", False),
        (["a", "b", "c"], "<all-in> a b", True), (["a"], "<all-in> a b", False),
        ("12", "<or> 11 <or> 12", True), ("13", "<or> 11 <or> 12", False), ("12", "<or> 12", True),
        (7, "7", True), (8.0, ">= 8", True), ("nan", "== nan", False),
    ],
)  # fmt: skip
def test_a_value_is_as_wanted_or_not(value, wanted, is_so):
    assert matches(value, wanted) is is_so
