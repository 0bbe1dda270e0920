"""Pages and lists with two hosts that are well, and with the same two when one refuses connections and one hangs."""

from __future__ import annotations

import http.client
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlencode

from tests.bench.figures import Figure
from tests.e2e.nacelle import Nacelle, free_port, wait_until
from tests.e2e.wire import Wire

GOAL = 1.1
WARM_UP = 3
READS = (
    "/compute/v2.1/servers/detail",
    "/compute/v2.1/os-hypervisors/detail",
    "/compute/v2.1/os-services",
    "/nacelle/v1/hosts",
    "/metrics",
)
PAGES = ("/", "/instances/", "/cloud/instances/", "/cloud/hosts/", "/cloud/capacity/")
NAMES = ("bench-dead", "bench-hanging")


def measure(nacelle: Nacelle, wire: Wire, runs: int) -> list[Figure]:
    """Medians of each read and page, first with both hosts well, then with both of them lost."""
    from compute.models import Host

    browser = Browser(nacelle)
    calls: dict[str, Callable[[], float]] = {path: _read(wire, path) for path in READS}
    calls |= {path: _page(browser, path) for path in PAGES}
    with silent_port() as hanging:
        try:
            _add(nacelle)
            well = _medians(calls, runs)
            _lose(hanging)
            lost = _medians(calls, runs)
        finally:
            Host.objects.filter(name__in=NAMES).delete()
            browser.close()
    found = [Figure("pages and lists with two hosts lost, of the time with both well", _share(lost, well), "x", GOAL)]
    for path in calls:
        found.append(Figure(f"    {path}", lost[path] * 1000, "ms"))
    return found


def _share(lost: dict[str, float], well: dict[str, float]) -> float:
    return statistics.median(lost[path] / well[path] for path in well)


def _add(nacelle: Nacelle) -> None:
    from compute.models import Host

    for name in NAMES:  # as rows alone: who adds a host has it compared with the real one
        Host.objects.create(name=name, uri=f"fake://{nacelle.data}/{name}.fake?host={name}")
    wait_until("both are watched", lambda: Host.objects.up().filter(name__in=NAMES).count() == 2)


def _lose(hanging: int) -> None:
    """From one moment to the next, as when a cable is pulled; then until the watcher has seen it."""
    from compute.models import Host

    for name, port in zip(NAMES, (free_port(), hanging), strict=True):
        Host.objects.filter(name=name).update(uri=f"qemu+tcp://127.0.0.1:{port}/system", machine_uuid=None)
    wait_until("the watcher tries both", lambda: Host.objects.get(name=NAMES[0]).state == "down")


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes every connection and never says a word."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    for one in taken:
        one.close()


def _medians(calls: dict[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """One call after the other, again and again, so that what else the machine does meets all alike."""
    seconds: dict[str, list[float]] = {path: [] for path in calls}
    for run in range(WARM_UP + runs):
        for path, call in calls.items():
            taken = call()
            if run >= WARM_UP:
                seconds[path].append(taken)
    return {path: statistics.median(times) for path, times in seconds.items()}


def _read(wire: Wire, path: str) -> Callable[[], float]:
    def read() -> float:
        answer = wire.get(path)
        assert answer.status == 200, (path, answer.status, answer.content[:300])
        return answer.seconds

    return read


def _page(browser: Browser, path: str) -> Callable[[], float]:
    return lambda: browser.get(path)


class Browser:
    """The administrator's session, over one connection."""

    def __init__(self, nacelle: Nacelle) -> None:
        self._connection = http.client.HTTPConnection(nacelle.address, timeout=60)
        self._cookies: dict[str, str] = {}
        page = self._exchange("GET", "/login")
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found is not None
        who = {"name": nacelle.credentials["username"], "password": nacelle.credentials["password"]}
        self._exchange("POST", "/login", urlencode({"csrfmiddlewaretoken": found[1], "next": "/", **who}))
        assert "sessionid" in self._cookies, "the login was refused"

    def get(self, path: str) -> float:
        """Seconds until the page was there."""
        began = time.perf_counter()
        self._exchange("GET", path)
        return time.perf_counter() - began

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _exchange(self, method: str, path: str, body: str | None = None) -> str:
        headers: dict[str, Any] = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if body is not None:
            origin = f"http://{self._connection.host}:{self._connection.port}"
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        assert response.status in (200, 302), (path, response.status, text[:300])
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return text
