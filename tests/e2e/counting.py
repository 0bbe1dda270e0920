"""A guest that counts seconds on its serial port while it goes from host to host: what it said, and when."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

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
    """Reads all that a guest says on one host and then on another, also when its log on the first is deleted."""

    def __init__(self, server: str, source: LabHost, target: LabHost) -> None:
        self._paths = [console_log(source, server), console_log(target, server)]
        self._files: dict[Path, BinaryIO] = {}
        self._said = [b"", b""]
        self._heard: list[float] = []
        self._over = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """For the length of the block; what was said before is read too."""
        self._read()
        self._heard.clear()
        thread = threading.Thread(target=self._listen)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            for file in self._files.values():
                file.close()

    @property
    def numbers(self) -> list[int]:
        """What it counted, in the order in which it said so."""
        return [int(found) for found in NUMBER.findall(b"".join(self._said).rpartition(b"count\r\n")[2])]

    @property
    def longest_silence(self) -> float:
        """The longest time between two numbers, in seconds."""
        return max(later - earlier for earlier, later in zip(self._heard, self._heard[1:], strict=False))

    def _listen(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            known = len(self.numbers)
            self._read()
            self._heard += [time.monotonic()] * (len(self.numbers) - known)

    def _read(self) -> None:
        for place, path in enumerate(self._paths):
            if path not in self._files:
                if not path.exists():
                    continue
                self._files[path] = path.open("rb")
            self._said[place] += self._files[path].read()
