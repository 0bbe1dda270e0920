"""Stands between a Nacelle and its libvirtd, passes everything on, and holds the call that a test names.

While a call is held its worker is inside that call, for certain and for as long as the test wants,
however fast the machine is. The packets are libvirt's own (https://libvirt.org/kbase/internals/rpc.html).
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psutil

from portal.setup.lab.host import PORT, LabHost
from tests.e2e.lab import in_network_of

RELAY_PORT = 16510
LIBVIRT_SOCKET = Path("/run/libvirt/libvirt-sock")
PATIENCE = 120.0
# length, program, version, procedure, type, serial, status
HEADER = struct.Struct("!IIIiIII")
REMOTE = 0x20008086
CALL, REPLY = 0, 1
# libvirt's numbers of the procedures (src/remote/remote_protocol.x); they never change.
PROCEDURES = {
    "domainDestroy": 12,
    "storageVolCreateXML": 93,
    "storageVolDelete": 94,
    "storageVolCreateXMLFrom": 125,
    "domainCreateWithFlags": 196,
    "storageVolUpload": 208,
    "storageVolDownload": 209,
    "domainUndefineFlags": 231,
    "domainShutdownFlags": 258,
    "domainMigrateBegin3Params": 302,
    "domainMigratePrepare3Params": 303,
    "domainMigratePerform3Params": 305,
    "domainMigrateFinish3Params": 306,
    "domainMigrateConfirm3Params": 307,
    "domainDefineXMLFlags": 350,
}


class Held:
    """One call that is to be held: on its way to libvirtd, or with its reply on the way back.

    ``about``: an id that the call must name, of a guest or of one of its volumes; empty: any.
    """

    def __init__(self, procedure: str, *, answered: bool = False, about: str = "") -> None:
        self.procedure = procedure
        self.answered = answered
        self.caller = 0
        self._about = (about.encode(), UUID(about).bytes) if about else (b"",)
        self._caught = threading.Event()
        self._go_on = threading.Event()

    def wait(self) -> int:
        """Wait until it is held. Returns the number of the process that makes the call."""
        assert self._caught.wait(PATIENCE), f"{self.procedure} was never called"
        return self.caller

    def let_go(self) -> None:
        """It goes where it was going, if anybody is there."""
        self._go_on.set()

    def is_meant(self, packet: bytes) -> bool:
        """For the relay: whether this packet is the call."""
        _, program, _, procedure, kind, _, _ = HEADER.unpack_from(packet)
        wanted = (REMOTE, PROCEDURES[self.procedure], CALL)
        return (program, procedure, kind) == wanted and any(text in packet for text in self._about)

    def catch(self, caller: int) -> None:
        """For the relay: this is the one; wait until the test lets it go."""
        self.caller = caller
        self._caught.set()
        self._go_on.wait(PATIENCE)


class Relay:
    """Before a libvirtd, at an address of its own. ``uri`` is what a Nacelle is given."""

    uri: str

    def __init__(self) -> None:
        self._held: list[Held] = []
        self._lock = threading.Lock()
        self._server: socket.socket | None = None

    def hold(self, procedure: str, *, answered: bool = False, about: str = "") -> Held:
        """The next call of this procedure is held; ``answered``: libvirtd does it, and the reply is held."""
        held = Held(procedure, answered=answered, about=about)
        with self._lock:
            self._held.append(held)
        return held

    def let_all_go(self) -> None:
        """Nothing is held any more, and nothing will be that was not asked for anew."""
        with self._lock:
            held, self._held = self._held, []
        for one in held:
            one.let_go()

    def close(self) -> None:
        """No new connections; those that are there end with their clients."""
        self.let_all_go()
        if self._server is not None:
            self._server.close()

    def _listen(self, server: socket.socket) -> None:
        self._server = server
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = server.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            caller, daemon = self._caller(client), self._daemon()
        except OSError:  # one of both is gone: the client sees a connection that ends at once
            client.close()
            return
        awaited: dict[int, Held] = {}
        for source, sink, match in ((client, daemon, self._match_call), (daemon, client, _match_reply)):
            line = Line(source, sink, functools.partial(match, awaited), caller)
            threading.Thread(target=line.run, daemon=True).start()

    def _match_call(self, awaited: dict[int, Held], packet: bytes) -> Held | None:
        """What holds this call. Where its reply is to be held, it is noted by the call's number."""
        with self._lock:
            held = next((one for one in self._held if one.is_meant(packet)), None)
            if held is None:
                return None
            self._held.remove(held)
        if not held.answered:
            return held
        awaited[serial_of(packet)] = held
        return None

    def _caller(self, client: socket.socket) -> int:
        """The process at the other end of a connection. Raises OSError when it has gone."""
        raise NotImplementedError

    def _daemon(self) -> socket.socket:
        """A connection to libvirtd. Raises OSError when it does not run."""
        raise NotImplementedError


class Line:
    """One way of a connection."""

    def __init__(
        self, source: socket.socket, sink: socket.socket, match: Callable[[bytes], Held | None], caller: int
    ) -> None:
        self._source, self._sink, self._match, self._caller = source, sink, match, caller
        self._sending = threading.Lock()

    def run(self) -> None:
        """Pass on what comes until one end is gone; then the other is, too."""
        with contextlib.suppress(OSError):
            while packet := read_packet(self._source):
                if held := self._match(packet):
                    threading.Thread(target=self._delay, args=(held, packet), daemon=True).start()
                else:
                    self._send(packet)
        for one in (self._source, self._sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _delay(self, held: Held, packet: bytes) -> None:
        held.catch(self._caller)
        with contextlib.suppress(OSError):  # its other end may be gone by now
            self._send(packet)

    def _send(self, packet: bytes) -> None:
        with self._sending:
            self._sink.sendall(packet)


class LocalRelay(Relay):
    """Before this machine's libvirtd, on a socket in a folder."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="relay-"))
        self.uri = f"qemu+unix:///system?socket={self.folder}/socket"
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{self.folder}/socket")
        server.listen()
        self._listen(server)

    def close(self) -> None:
        """The socket goes too."""
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _caller(self, client: socket.socket) -> int:
        pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)

    def _daemon(self) -> socket.socket:
        daemon = socket.socket(socket.AF_UNIX)
        daemon.connect(str(LIBVIRT_SOCKET))
        return daemon


class LabRelay(Relay):
    """Before the libvirtd of a laboratory's host: at the host's address, on another port."""

    def __init__(self, host: LabHost) -> None:
        super().__init__()
        self.host = host
        self.uri = f"qemu+tcp://{host.address}:{RELAY_PORT}/system"
        self.listen()

    def listen(self) -> None:
        """Once more, when the host had lost its power."""
        if self._server is not None:
            self._server.close()
        self._listen(in_network_of(self.host, lambda: socket.create_server((self.host.address, RELAY_PORT))))

    def _caller(self, client: socket.socket) -> int:
        peer = client.getpeername()
        for one in psutil.net_connections("tcp4"):
            if one.pid and tuple(one.laddr) == peer:
                return int(one.pid)
        raise ConnectionError(f"nobody is at {peer}")

    def _daemon(self) -> socket.socket:
        return socket.create_connection((self.host.address, PORT), PATIENCE)


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


def serial_of(packet: bytes) -> int:
    """The number by which a reply belongs to its call."""
    return int(HEADER.unpack_from(packet)[5])


def _match_reply(awaited: dict[int, Held], packet: bytes) -> Held | None:
    _, program, _, _, kind, serial, _ = HEADER.unpack_from(packet)
    return awaited.pop(serial, None) if (program, kind) == (REMOTE, REPLY) else None
