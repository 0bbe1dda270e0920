"""`manage.py watch_hosts`: the watcher, in the foreground."""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand

from compute.hosts.watcher import Watcher


class Command(BaseCommand):
    """Watches every host until it is told to stop."""

    help = "Watch the hosts: events, samples, state sync, liveness; and ring for forgotten operations."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT."""
        watcher = Watcher()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watcher.stopping.set())
        watcher.run()
