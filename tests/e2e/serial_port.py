"""A guest's serial port over libvirt's stream: what it says, typing into it, and commands in the guest's shell."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Self

import libvirt

from tests.e2e.cloud import Cloud
from tests.e2e.nacelle import wait_until

# A login prompt may be there before DHCP has answered.
SHOW_ADDRESS = "until ip -4 addr show eth0 | grep inet; do sleep 0.2; done"

NUDGE_SECONDS = 0.5
ANSWER_SECONDS = 30.0
TRIES = 4
LEAVE = "\x04"  # from wherever it is, back to a login prompt


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
        """Log in at the prompt, which Enter brings up again as soon as somebody reads it.

        A busy guest's port may lose a letter, as a real one does: who is not let in tries again, as a person would.
        """
        for _ in range(TRIES):
            wait_until("a login prompt", self._is_prompted, pause=NUDGE_SECONDS)
            if self._is_answered("root\n", "Password:") and self._is_answered("nacelle\n", "# "):
                return
            said, self.output = self.output, ""
            self.type(LEAVE)
        raise AssertionError(f"nobody is let in at the serial port, which says {said!r}")

    def _is_answered(self, typed: str, answer: str) -> bool:
        self.output = ""
        self.type(typed)
        deadline = time.monotonic() + ANSWER_SECONDS
        while answer not in self.output and time.monotonic() < deadline:
            time.sleep(0.05)
        return answer in self.output

    def _is_prompted(self) -> bool:
        if "login:" not in self.output:
            self.type("\n")
        return "login:" in self.output

    def _listen(self) -> None:
        try:
            while chunk := self.stream.recv(1024):
                self.output += chunk.decode(errors="replace")
        except libvirt.libvirtError:
            return


def asked(cloud: Cloud, server_id: str, *commands: str) -> str:
    """What the guest prints to commands that are typed at its serial port by root, who logs out again."""
    return asked_at(cloud.libvirt, server_id, *commands)


def asked_at(connection: Any, server_id: str, *commands: str) -> str:
    """The same, of a guest on the host that this is a connection to."""
    with SerialPort(connection, server_id) as port:
        port.log_in()
        port.output = ""
        port.type("; ".join(commands) + "; echo fi''nis\n")
        port.wait_for("finis")
        said = port.output
        port.type("exit\n")
        port.wait_for("login:")
        return said.replace("\r", "")


def uptime(cloud: Cloud, server_id: str) -> float:
    """Seconds since the guest's kernel started, as the guest says."""
    said = asked(cloud, server_id, "echo up $(cat /proc/uptime)")
    return float(next(line.split()[1] for line in said.splitlines() if line.startswith("up ")))
