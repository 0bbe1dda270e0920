"""Django's admin pages, for every model."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


class NacelleAdminSite(AdminSite):
    """The admin site, with the portal's name, look, login and password page."""

    site_header = site_title = "Nacelle"
    index_title = "Administration"
    enable_nav_sidebar = True

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The portal's own login page. Whoever is logged in and comes here is no administrator."""
        if request.user.is_authenticated:
            raise PermissionDenied
        from django.contrib.auth.views import redirect_to_login

        return redirect_to_login(request.GET.get("next", request.get_full_path()))

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The portal's own page."""
        return redirect("password")


class NacelleAdminConfig(AdminConfig):
    """Makes ours the default site."""

    default_site = "portal.dashboard.admin_site.NacelleAdminSite"
