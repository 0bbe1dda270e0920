"""Stands between a Nacelle and its libvirtd, passes everything on, and holds the call that a test names.

While a call is held its worker is inside that call, for certain and for as long as the test wants,
however fast the machine is. The packets are libvirt's own (https://libvirt.org/kbase/internals/rpc.html).
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import tempfile
import threading
from pathlib import Path

LIBVIRT_SOCKET = Path("/run/libvirt/libvirt-sock")
PATIENCE = 120.0
# length, program, version, procedure, type, serial, status
HEADER = struct.Struct("!IIIiIII")
REMOTE = 0x20008086
CALL, REPLY = 0, 1
# libvirt's numbers of the procedures (src/remote/remote_protocol.x); they never change.
PROCEDURES = {
    "storageVolCreateXML": 93,
    "storageVolCreateXMLFrom": 125,
    "domainCreateWithFlags": 196,
    "domainShutdownFlags": 258,
    "domainDefineXMLFlags": 350,
}


class Held:
    """One call that is to be held: on its way to libvirtd, or with its reply on the way back."""

    def __init__(self, procedure: str, *, answered: bool = False) -> None:
        self.procedure = procedure
        self.wanted = (REMOTE, PROCEDURES[procedure], REPLY if answered else CALL)
        self.caller = 0
        self._caught = threading.Event()
        self._go_on = threading.Event()

    def wait(self) -> int:
        """Wait until it is held. Returns the number of the process that makes the call."""
        assert self._caught.wait(PATIENCE), f"{self.procedure} was never called"
        return self.caller

    def let_go(self) -> None:
        """It goes where it was going, if anybody is there."""
        self._go_on.set()

    def catch(self, caller: int) -> None:
        """For the relay: this is the one; wait until the test lets it go."""
        self.caller = caller
        self._caught.set()
        self._go_on.wait(PATIENCE)


class Relay:
    """A socket of its own before libvirtd's. ``uri`` is what a Nacelle is given."""

    def __init__(self, libvirtd: Path = LIBVIRT_SOCKET) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay-"))
        self.libvirtd = libvirtd
        self.uri = f"qemu+unix:///system?socket={self.folder}/socket"
        self._held: list[Held] = []
        self._lock = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(f"{self.folder}/socket")
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, procedure: str, *, answered: bool = False) -> Held:
        """The next call of this procedure is held; ``answered``: libvirtd does it, and the reply is held."""
        held = Held(procedure, answered=answered)
        with self._lock:
            self._held.append(held)
        return held

    def close(self) -> None:
        """No new connections; those that are there end with their clients."""
        for held in self._held:
            held.let_go()
        self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._server.accept()
                caller, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                self._connect(client, caller)

    def _connect(self, client: socket.socket, caller: int) -> None:
        daemon = socket.socket(socket.AF_UNIX)
        try:
            daemon.connect(str(self.libvirtd))
        except OSError:  # it does not run: the client sees a connection that ends at once
            client.close()
            return
        for source, sink in ((client, daemon), (daemon, client)):
            threading.Thread(target=self._pump, args=(source, sink, threading.Lock(), caller), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, sending: threading.Lock, caller: int) -> None:
        with contextlib.suppress(OSError):
            while packet := read_packet(source):
                if held := self._match(packet):
                    threading.Thread(target=_delay, args=(held, packet, sink, sending, caller), daemon=True).start()
                else:
                    _send(packet, sink, sending)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _match(self, packet: bytes) -> Held | None:
        _, program, _, procedure, kind, _, _ = HEADER.unpack_from(packet)
        with self._lock:
            held = next((one for one in self._held if one.wanted == (program, procedure, kind)), None)
            if held:
                self._held.remove(held)
        return held


def read_packet(source: socket.socket) -> bytes:
    """The next packet, its length included; nothing at the end."""
    if len(start := _read(source, 4)) < 4:
        return b""
    return start + _read(source, struct.unpack("!I", start)[0] - 4)


def _read(source: socket.socket, length: int) -> bytes:
    found = bytearray()
    while len(found) < length and (more := source.recv(length - len(found))):
        found += more
    return bytes(found)


def _send(packet: bytes, sink: socket.socket, sending: threading.Lock) -> None:
    with sending:
        sink.sendall(packet)


def _delay(held: Held, packet: bytes, sink: socket.socket, sending: threading.Lock, caller: int) -> None:
    held.catch(caller)
    with contextlib.suppress(OSError):  # its other end may be gone by now
        _send(packet, sink, sending)
