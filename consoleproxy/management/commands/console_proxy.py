"""`manage.py console_proxy`: the VNC proxy, in the foreground."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from consoleproxy.proxy import Proxy

log = logging.getLogger(__name__)


class Command(BaseCommand):
    """Serves consoles until it is told to stop."""

    help = "Carry guests' screens to browsers: the proxy that noVNC connects to."
    requires_system_checks = []  # they import every view: memory that this process never needs

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or SIGINT. Ends with one sentence and status 1 if it cannot listen."""
        proxy = _listen(settings.CONSOLE_BIND)
        stopping = threading.Thread(target=proxy.stop, name="stop")

        def stop(*_: Any) -> None:
            if not stopping.ident:
                stopping.start()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        log.info("consoles on %s", settings.CONSOLE_BIND)
        proxy.serve_forever()
        stopping.join()


def _listen(bind: str) -> Proxy:
    host, _, port = bind.rpartition(":")
    if not (host and port.isdecimal() and int(port) < 1 << 16):
        raise SystemExit(f"NACELLE_CONSOLE_BIND is {bind!r}; it must be ADDRESS:PORT, such as 127.0.0.1:6080.")
    try:
        return Proxy((host.strip("[]"), int(port)))
    except OSError as error:
        why = f"The console proxy cannot listen on {bind}: {error.strerror}."
        raise SystemExit(f"{why} NACELLE_CONSOLE_BIND chooses another address.") from error
