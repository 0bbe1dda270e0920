"""The programs that the supervisor runs, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from django.conf import settings
from django.urls import resolve

# Longer than any client pauses between two questions: `openstack … --wait` asks every five seconds on one connection,
# and uvicorn would hang up after five, now and then just as the next question is on its way.
KEEP_ALIVE_SECONDS = 75


def web() -> None:
    """The pages, the APIs and the websockets."""
    import uvicorn

    host, port = settings.BIND.rsplit(":", 1)
    uvicorn.run(
        "portal.asgi:application",
        host=host.strip("[]"),
        port=int(port),
        http="httptools",
        ws="websockets-sansio",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=3,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


def _lane(name: str) -> Callable[[], None]:
    def run() -> None:
        from portal.setup.lane import run_lane

        run_lane(name)

    return run


def _command(name: str) -> Callable[[], None]:
    def run() -> None:
        from django.core.management import call_command

        call_command(name)

    return run


PROGRAMS: dict[str, Callable[[], None]] = {
    "web": web,
    "worker-compute": _lane("compute"),
    "worker-transfer": _lane("transfer"),
    "watcher": _command("watch_hosts"),
    "console-proxy": _command("console_proxy"),
}


PRELOADED = (
    "compute.hosts.watcher",
    "compute.operations.worker",
    "consoleproxy.proxy",
    "django_q.cluster",
    "portal.asgi",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)


def preload() -> None:
    """Import what the children will need, so that they share it; the URL table brings every view."""
    for name in PRELOADED:
        importlib.import_module(name)
    resolve("/healthz")
