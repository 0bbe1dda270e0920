"""The compute app."""

from django.apps import AppConfig


class ComputeConfig(AppConfig):
    """Instances and all that they stand on."""

    name = "compute"
    verbose_name = "Compute"

    def ready(self) -> None:
        """Declare the policy rules and the system checks, and listen to identity."""
        from compute import announcements, checks, policy  # noqa: F401  (declared by being imported)
