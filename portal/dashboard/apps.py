"""The dashboard app."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """The pages."""

    name = "portal.dashboard"
    label = "dashboard"
    verbose_name = "Dashboard"
