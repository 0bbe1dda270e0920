"""The identity app."""

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    """Who."""

    name = "portal.identity"
    label = "identity"
    verbose_name = "Identity"

    def ready(self) -> None:
        """Declare the policy rules."""
        from portal.identity import rules  # noqa: F401  (declared by being imported)
