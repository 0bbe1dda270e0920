"""The rules of the house that a program can hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin

ROOT = Path(settings.BASE_DIR)
PACKAGES = ("portal", "compute", "scheduler", "consoleproxy")
STATES = {"vm_state", "task_state", "power_state"}
LONGEST_FUNCTION = 40
LONGEST_FILE = 400


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path for path in sorted((ROOT / package).rglob("*.py")) if "migrations" not in path.parts)


def writes_of_states(tree: ast.AST) -> Iterator[int]:
    """Lines that assign a state, or pass one to ``update``, ``create`` or ``set_instance``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and target.attr in STATES:
                    yield node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func.attr
            if called in ("update", "create", "bulk_create", "set_instance") and any(
                keyword.arg in STATES for keyword in node.keywords
            ):
                yield node.lineno


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_operations_write_states(path):
    if path.is_relative_to(ROOT / "compute/operations"):
        return
    assert list(writes_of_states(ast.parse(path.read_text()))) == []


def test_the_rule_about_states_can_fail():
    guilty = "instance.vm_state = 'active'\nInstance.objects.filter(pk=1).update(task_state=None)\n"
    assert list(writes_of_states(ast.parse(guilty))) == [1, 2]


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_files_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_and_class_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    if not tree.body:
        return
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


def test_every_model_is_in_the_admin_pages():
    ours = {
        model
        for label in ("identity", "compute", "consoleproxy")
        for model in apps.get_app_config(label).get_models()
        if not model._meta.auto_created
    }
    assert {model.__name__ for model in ours - set(admin.site._registry)} == set()
