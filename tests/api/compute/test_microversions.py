"""The table of microversions is whole, and says what the code does."""

from __future__ import annotations

import ast
from pathlib import Path

import portal.api.compute
from portal.api.compute.base import RANGE
from portal.api.compute.microversions import MICROVERSIONS, microversions_document
from portal.api.versions import Version

PACKAGE = Path(portal.api.compute.__file__).parent
# Versions written as the last that has something; the change is at the next.
LAST = ("until",)


def _version(node: ast.AST) -> Version | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return Version.parse(node.value)
        except ValueError:
            return None
    return None


def _next(version: Version) -> Version:
    return Version(version.major, version.minor + 1)


def _lasts(tree: ast.AST) -> set[int]:
    """The nodes whose version is the last one: ``until=``, a dict named until, ``between``'s third argument."""
    nodes: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in LAST:
            nodes.add(id(node.value))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id in LAST:
            nodes |= {id(one) for one in ast.walk(node)}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "between":
            nodes |= {id(one) for one in node.args[2:]}
    return nodes


def edges() -> set[Version]:
    """Every version at which the code changes what it does."""
    found: set[Version] = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        lasts = _lasts(tree)
        for node in ast.walk(tree):
            if (version := _version(node)) is not None and version.major == 2:
                found.add(_next(version) if id(node) in lasts else version)
    return {version for version in found if version > RANGE.minimum}


def test_every_version_of_the_range_is_in_the_table() -> None:
    numbers = [Version.parse(row.number) for row in MICROVERSIONS]
    assert numbers == [Version(2, minor) for minor in range(RANGE.minimum.minor, RANGE.maximum.minor + 1)]


def test_the_table_and_the_code_agree_both_ways() -> None:
    said = {Version.parse(row.number) for row in MICROVERSIONS if row.served} - {RANGE.minimum}
    done = edges()
    assert sorted(map(str, done - said)) == [], "changed in the code, not in the table"
    assert sorted(map(str, said - done)) == [], "in the table, not in the code"


def test_the_document_has_a_line_for_each() -> None:
    assert microversions_document().count("\n| 2.") == len(MICROVERSIONS)
