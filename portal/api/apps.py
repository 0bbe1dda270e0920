"""The API app."""

from django.apps import AppConfig


class ApiConfig(AppConfig):
    """The wire."""

    name = "portal.api"
    label = "api"
    verbose_name = "APIs"
