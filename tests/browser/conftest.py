"""A web server of the test's own, and a browser in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from django.conf import settings
from django.db import connections

from compute.models import OPEN_STATES, Action
from portal import asgi
from portal.dashboard import live
from portal.handler import Handler
from tests.conftest import PASSWORD, Cloud

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


class Workers:
    """Runs open operations in a thread of the test's own process, where the fake host lives."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        from compute.operations.worker import perform

        while not self._stop.wait(0.1):
            try:
                action = Action.objects.filter(state__in=OPEN_STATES, lease_owner="").order_by("id").first()
                if action is not None:
                    perform(action.pk, action.progress.get("lane", "compute"))
            finally:
                connections.close_all()

    def stop(self) -> None:
        """End after the operation under way."""
        self._stop.set()
        self._thread.join(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """The portal with its websockets, in a thread of the test's own process."""

    def __init__(self, application: Any, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self._server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=port, log_config=None))
        self._runner = asyncio.Runner()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        _wait_until(lambda: self._server.started)

    def _serve(self) -> None:
        with self._runner:  # which ends the tasks that pages have left behind, as uvicorn's own does
            self._runner.run(self._server.serve())

    @contextlib.contextmanager
    def without_sockets(self) -> Iterator[None]:
        """Close every page's socket, as a restart would; new ones are let in after the block."""
        again, sockets = asyncio.Event(), asgi.application.application_mapping["websocket"]

        async def wait(*request: Any) -> None:
            await again.wait()
            await sockets(*request)

        async def drop() -> None:
            for page in list(live.tailer.sockets):
                with contextlib.suppress(OSError):  # it has just left by itself
                    await page.close(code=1012)

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(asgi.application.application_mapping, "websocket", wait)
            asyncio.run_coroutine_threadsafe(drop(), self._runner.get_loop()).result(timeout=10)
            yield
        self._runner.get_loop().call_soon_threadsafe(again.set)

    def stop(self) -> None:
        """Away."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=30)


@pytest.fixture
def server(transactional_db: None, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Server]:
    """A portal on a port of its own, and workers."""
    port = _free_port()
    settings.WHITENOISE_USE_FINDERS = settings.WHITENOISE_AUTOREFRESH = True
    settings.PUBLIC_URL = f"http://127.0.0.1:{port}"
    settings.CONSOLE_ORIGINS = [settings.PUBLIC_URL]
    monkeypatch.setattr("compute.operations.doorbell.async_task", lambda *args, **kwargs: None)
    monkeypatch.setitem(asgi.application.application_mapping, "http", Handler())  # with these settings
    monkeypatch.setattr(live, "tailer", live.Tailer())  # the last one belongs to an event loop that has ended
    running, workers = Server(asgi.application, port), Workers()
    yield running
    running.stop()
    workers.stop()


@pytest.fixture
def portal_server(server: Server) -> str:
    """The address of a portal that runs."""
    return server.address


def _wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser.

    Playwright keeps an event loop in this thread for as long as it runs, which Django must be told is
    harmless; other modules of tests start loops of their own, so it ends with the module.
    """
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium on this machine")
    if not (Path(settings.BASE_DIR) / "static/vendor/xterm/xterm.mjs").exists():
        pytest.skip("the front-end packages are not there; `npm ci && npm run vendor` gets them")
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


class Visitor:
    """Somebody at a browser. What the browser complains about is kept."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(base_url=address, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, message: Any) -> None:
        """Keep errors; but a bridge that comes or goes on this machine is none of ours."""
        if message.type == "error" and "ERR_NETWORK_CHANGED" not in message.text:
            self.complaints.append(message.text)

    def log_in(self, name: str) -> Any:
        """Log in by the form; the page that one lands on."""
        self.page.goto("/login")
        self.page.fill("#id_name", name)
        self.page.fill("#id_password", PASSWORD)
        self.page.click("button:has-text('Log in')")
        self.page.wait_for_url("**/")
        return self.page


@pytest.fixture
def visit(chromium: Any, portal_server: str) -> Iterator[Callable[..., Visitor]]:
    """Open a browser window of one's own. No window may have complained at the end of the test."""
    visitors: list[Visitor] = []

    def opened(**options: Any) -> Visitor:
        visitors.append(Visitor(chromium, portal_server, **options))
        return visitors[-1]

    yield opened
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.complaints for visitor in visitors if visitor.complaints] == []
