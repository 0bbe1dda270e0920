"""What every page shows around its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from portal.dashboard.fragments import shell_template


@dataclass(frozen=True)
class Link:
    """One entry of the navigation."""

    label: str
    icon: str
    path: str
    here: bool


PROJECT_LINKS = (
    ("Overview", "gauge", "overview"),
    ("Instances", "server", "instances"),
    ("Schedules", "clock", "schedules"),
    ("Images", "disc", "images"),
    ("Flavors", "sliders", "flavors"),
    ("Key pairs", "key", "key_pairs"),
    ("Server groups", "group", "server_groups"),
    ("Networks", "network", "networks"),
    ("API access", "terminal", "api_access"),
)
CLOUD_LINKS = (
    ("Hosts", "rack", "hosts"),
    ("Capacity", "chart", "capacity"),
    ("Migrations", "move", "migrations"),
    ("Rebalance", "updown", "rebalance"),
    ("Aggregates", "zones", "aggregates"),
    ("Scheduler", "sliders", "scheduler"),
    ("All instances", "layers", "all_instances"),
    ("Administration", "shield", "admin:index"),
)


def _links(request: HttpRequest, entries: tuple[tuple[str, str, str], ...]) -> list[Link]:
    links = []
    for label, icon, name in entries:
        path = reverse(name)
        here = request.path == path if path == "/" else request.path.startswith(path)
        links.append(Link(label, icon, path, here))
    return links


def shell(request: HttpRequest) -> dict[str, Any]:
    """The actor, the projects to switch to and the navigation; nothing where nobody is logged in."""
    actor = getattr(request, "actor", None)
    context: dict[str, Any] = {"shell": shell_template(request), "actor": actor}
    if actor is not None and context["shell"] == "shell/page.html":
        context["projects"] = request.projects  # type: ignore[attr-defined]  # see access.py
        context["project_links"] = _links(request, PROJECT_LINKS)
        context["cloud_links"] = _links(request, CLOUD_LINKS) if actor.is_admin else []
    return context
