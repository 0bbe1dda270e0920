"""Django's admin pages, for every model."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig


class NacelleAdminSite(AdminSite):
    """The admin site, with the portal's name and look."""

    site_header = site_title = "Nacelle"
    index_title = "Everything that Nacelle keeps"


class NacelleAdminConfig(AdminConfig):
    """Makes ours the default site."""

    default_site = "portal.dashboard.admin_site.NacelleAdminSite"


def __getattr__(name: str) -> object:
    if name == "site":
        from django.contrib import admin

        return admin.site
    raise AttributeError(name)
