"""The set-up app."""

from django.apps import AppConfig


class SetupConfig(AppConfig):
    """One command."""

    name = "portal.setup"
    label = "setup"
    verbose_name = "Set-up"
