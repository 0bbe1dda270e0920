"""A guest's serial port over libvirt's stream: what it says, and typing into it."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Self

import libvirt

from tests.e2e.nacelle import wait_until


class SerialPort:
    """Open for the length of a `with` statement."""

    def __init__(self, connection: Any, server_id: str) -> None:
        self.stream = connection.newStream(0)
        domain = connection.lookupByUUIDString(server_id)
        domain.openConsole(None, self.stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        self.output = ""

    def __enter__(self) -> Self:
        """Listen."""
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        with contextlib.suppress(libvirt.libvirtError):  # the guest may have hung up first
            self.stream.abort()

    def wait_for(self, text: str) -> None:
        """Wait until the guest has said this."""
        wait_until(f"{text!r} on the serial port", lambda: text in self.output)

    def type(self, text: str) -> None:
        """Type."""
        self.stream.send(text.encode())

    def log_in(self) -> None:
        """Log in at the prompt, which Enter brings up again."""
        for typed, answer in (("\n", "login:"), ("root\n", "Password:"), ("nacelle\n", "# ")):
            self.output = ""
            self.type(typed)
            self.wait_for(answer)

    def _listen(self) -> None:
        try:
            while chunk := self.stream.recv(1024):
                self.output += chunk.decode(errors="replace")
        except libvirt.libvirtError:
            return
