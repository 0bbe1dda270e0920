"""The identity app."""

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    """Who."""

    name = "portal.identity"
    label = "identity"
    verbose_name = "Identity"
