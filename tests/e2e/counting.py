"""A guest that counts seconds on its serial port while it goes from host to host: what it said, and when."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from portal.setup.lab.host import LabHost
from tests.e2e.lab import POOL, connected
from tests.e2e.serial_port import SerialPort

NUMBER = re.compile(rb"(?m)^(\d+)\r?$")
LOOK_SECONDS = 0.01


def start_counting(host: LabHost, server: str) -> None:
    """The guest counts seconds on its serial port from now on."""
    with connected(host) as connection, SerialPort(connection, server) as port:
        port.log_in()
        port.type("count\n")
        port.wait_for("\n1\r")


def console_log(host: LabHost, server: str) -> Path:
    """Its console log on a host."""
    return host.folder / "lib" / "images" / f"{POOL}-console" / f"{server}.log"


def numbers(host: LabHost, server: str) -> list[int]:
    """What it has counted since it came to a host."""
    log = console_log(host, server)
    return [int(found) for found in NUMBER.findall(log.read_bytes())] if log.exists() else []


class Listener:
    """Hears all that a guest says on one host and then on another, though its log on the first is deleted."""

    def __init__(self, server: str, source: LabHost, target: LabHost) -> None:
        self._source = console_log(source, server).open("rb")
        self._target = console_log(target, server)
        self._before = self._after = b""
        self._heard: list[float] = []
        self._over = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For the length of the block; what was said before is read too."""
        self._read()
        thread = threading.Thread(target=self._listen)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._source.close()

    @property
    def numbers(self) -> list[int]:
        """What it counted, in the order in which it said so."""
        said = (self._before + self._after).rpartition(b"count\r\n")[2]
        return [int(found) for found in NUMBER.findall(said)]

    @property
    def longest_silence(self) -> float:
        """The longest time between two numbers, in seconds."""
        return max(later - earlier for earlier, later in itertools.pairwise(self._heard))

    def _listen(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            known = len(self.numbers)
            self._read()
            self._heard += [time.monotonic()] * (len(self.numbers) - known)

    def _read(self) -> None:
        self._before += self._source.read()
        with suppress(FileNotFoundError):  # libvirt makes it anew while the guest is on its way
            self._after = self._target.read_bytes()
