"""Every path of the compute API, below ``/v2.1`` and ``/v2.1/{project_id}`` (and ``/v2``, the legacy one)."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, include, path, re_path, register_converter
from django.urls.converters import StringConverter

from portal.api.compute import actions, discovery, servers


class ProjectConverter(StringConverter):
    """A project's id, by its form, so that it is not taken for a collection."""

    regex = "[0-9a-f-]{32,64}"


register_converter(ProjectConverter, "project")


def routes() -> list[URLPattern]:
    """The paths of one version."""
    return [
        path("servers", servers.Servers.as_view()),
        path("servers/detail", servers.ServersDetail.as_view()),
        path("servers/<server_id>", servers.Server.as_view()),
        path("servers/<server_id>/action", actions.ServerAction.as_view()),
        path("servers/<server_id>/remote-consoles", actions.RemoteConsoles.as_view()),
    ]


ROUTES = routes()
urlpatterns: list[Any] = [
    re_path(r"^/?$", discovery.Versions.as_view()),
    re_path(r"^/v2\.1/?$", discovery.VersionDocument.as_view(), {"version_id": "v2.1"}),
    re_path(r"^/v2/?$", discovery.VersionDocument.as_view(), {"version_id": "v2.0"}),
    path("/v2.1/versions/<version_id>", discovery.VersionDocument.as_view()),
    path("/versions/<version_id>", discovery.VersionDocument.as_view()),
    path("/v2.1/", include(ROUTES)),
    path("/v2.1/<project:project_id>/", include(ROUTES)),
    path("/v2/", include(ROUTES)),
    path("/v2/<project:project_id>/", include(ROUTES)),
]
