"""The table of all calls that are served, derived from the URL configurations and the views' docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver
from django.urls.resolvers import RoutePattern

METHODS = ("get", "post", "put", "patch", "delete")
# Where each API begins, and its URL configuration.
APIS = {
    "/identity": "portal.api.identity.urls",
    "/compute": "portal.api.compute.urls",
    "/image": "portal.api.image.urls",
    "/network": "portal.api.network.urls",
    "/placement": "portal.api.placement.urls",
    "/nacelle/v1/": "portal.api.nacelle.urls",
}
# Other ways to write a path that is in the table already.
ALIASES = re.compile(r"^/compute/(v2/|v2$|v2\.1/\{project_id\}/)")


@dataclass(frozen=True, order=True)
class Call:
    """One method of one path. ``since`` and ``until`` are microversions; empty: all. ``rule``: its policy, if said."""

    path: str
    method: str
    since: str
    until: str
    rule: str
    sentence: str


def served_calls() -> list[Call]:
    """Every call of every API, by path and method."""
    from importlib import import_module

    calls: list[Call] = []
    for prefix, module in APIS.items():
        for path, view, given in _routes(prefix, import_module(module).urlpatterns):
            if not ALIASES.match(path):
                calls += _calls(path, view, given)
    return sorted(set(calls))


def _routes(prefix: str, patterns: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    for one in patterns:
        path = prefix + readable(one.pattern)
        if isinstance(one, URLResolver):
            yield from _routes(path, one.url_patterns)
        elif isinstance(one, URLPattern):
            view = getattr(one.callback, "cls", None) or getattr(one.callback, "view_class", None)
            if view is not None:
                yield path, view, one.default_args


def readable(pattern: Any) -> str:
    """A route with ``{names}`` for its variable parts and nothing of regular expressions."""
    text = str(pattern)
    if isinstance(pattern, RoutePattern):
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", text)
    text = text.removeprefix("^").removesuffix("$").removesuffix("/?")
    text = re.sub(r"\(\?P<(\w+)>(?:[^()\[\]]|\[[^\]]*\])*\)", r"{\1}", text)
    return text.replace("\\", "")


def _calls(path: str, view: Any, given: dict[str, Any]) -> Iterator[Call]:
    for method in METHODS:
        handler = getattr(view, method, None)
        if handler is None:
            continue
        yield Call(
            path=path,
            method=method.upper(),
            since=getattr(handler, "since", None) or getattr(view, "since", None) or "",
            until=getattr(handler, "until", None) or getattr(view, "until", None) or "",
            rule=getattr(handler, "rule", ""),
            sentence=_sentence(handler, view),
        )


def _sentence(handler: Any, view: Any) -> str:
    """The first line of the handler's docstring, else of the view's or of what it is made of."""
    texts = [handler.__doc__, *(one.__doc__ for one in view.__mro__[:-1])]
    return next((text.strip().split("\n")[0] for text in texts if text), "")


def calls_document() -> str:
    """The table in Markdown, for the README."""
    lines = ["| call | versions | what it does |", "|---|---|---|"]
    for call in served_calls():
        since = f"{call.since}+" if call.since not in ("", "1.0", "2.1") else ""
        bounds = f"{call.since} to {call.until}" if call.until else since
        lines.append(f"| `{call.method} {call.path}` | {bounds} | {call.sentence} |")
    return "\n".join(lines)
