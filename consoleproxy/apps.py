"""The console app."""

from django.apps import AppConfig


class ConsoleProxyConfig(AppConfig):
    """Consoles."""

    name = "consoleproxy"
    verbose_name = "Consoles"
