"""The scheduler app."""

from django.apps import AppConfig


class SchedulerConfig(AppConfig):
    """Which host."""

    name = "scheduler"
    verbose_name = "Scheduler"
