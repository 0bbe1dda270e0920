"""Every path that Nacelle answers."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from portal import health, metrics

urlpatterns = [
    path("identity", include("portal.api.identity.urls")),
    path("compute", include("portal.api.compute.urls")),
    path("image", include("portal.api.image.urls")),
    path("network", include("portal.api.network.urls")),
    path("placement", include("portal.api.placement.urls")),
    path("nacelle/v1/", include("portal.api.nacelle.urls")),
    path("healthz", health.healthz),
    path("metrics", metrics.metrics),
    path("admin/", admin.site.urls),
    path("", include("portal.dashboard.urls")),
]
handler400 = "portal.dashboard.views.errors.bad_request"
handler403 = "portal.dashboard.views.errors.forbidden"
handler404 = "portal.api.errors.not_found"
handler500 = "portal.dashboard.views.errors.server_error"
