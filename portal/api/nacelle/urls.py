"""Paths below /nacelle/v1/."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView

from portal.api.nacelle.views import Hosts, Placement

urlpatterns = [
    path("hosts", Hosts.as_view()),
    path("servers/<uuid:server_id>/placement", Placement.as_view()),
    path("schema", SpectacularJSONAPIView.as_view(urlconf="portal.api.nacelle.urls")),
]
