"""Opening a connection to a host, within a limit: libvirt has none of its own.

A libvirtd that stands still takes the connection and says nothing, and the call that opens it then waits for
ever. So it waits in a thread of its own, which can be left behind. An attempt that is late is not made again
beside itself: whoever comes meanwhile is told at once, and when the host wakes up, its connection is used.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import libvirt

from compute.hypervisor import ways
from compute.hypervisor.interface import Unreachable
from compute.hypervisor.libvirt import event_loop, ssh, tls
from compute.hypervisor.libvirt.errors import has_code, translate

# A host that is silent for 5 s is asked three times more: after 20 s its calls fail, not hang.
KEEPALIVE_INTERVAL = 5
KEEPALIVE_COUNT = 3
CONNECT_SECONDS = 5.0
OPEN_SECONDS = 20.0  # from the first packet to an open connection; a login over ssh takes seconds
GIVEN_UP_SECONDS = 300.0  # then the attempt is left behind, and another is made


class Opening:
    """One attempt to open the connection of a URI."""

    def __init__(self, uri: str, means: ways.Ways) -> None:
        self._uri, self._means = uri, means
        self._since = time.monotonic()
        self._found: Future[Any] = Future()
        threading.Thread(target=self._run, name="libvirt-open", daemon=True).start()

    @property
    def is_of_use(self) -> bool:
        """Whether to wait for it, or for its connection, before another attempt is made."""
        return time.monotonic() - self._since < GIVEN_UP_SECONDS

    def result(self) -> Any:
        """The connection. Raises Unreachable, and NotYet when its time is over and it still hangs."""
        return self._found.result(max(0.0, self._since + OPEN_SECONDS - time.monotonic()))

    def leave(self) -> None:
        """Nobody waits any more: a connection that still comes is closed."""
        self._found.add_done_callback(_close)

    def _run(self) -> None:
        try:
            self._found.set_result(_open(self._uri, self._means))
        except libvirt.libvirtError as error:
            self._found.set_exception(_explained(self._uri, error, self._means))
        except BaseException as error:
            self._found.set_exception(error)


def _close(found: Future[Any]) -> None:
    if found.exception() is None:
        with contextlib.suppress(libvirt.libvirtError):
            found.result().close()


def late(uri: str) -> Unreachable:
    """What to say of a host that took the connection and does not answer."""
    where = ways.split(uri).hostname or "This machine"
    return Unreachable(f"{where} does not answer: its libvirt took no connection within {OPEN_SECONDS:g} s.")


def open_now(uri: str, means: ways.Ways) -> Any:
    """A new connection, within the limit. Raises Unreachable."""
    attempt = Opening(uri, means)
    try:
        return attempt.result()
    except NotYet:
        attempt.leave()
        raise late(uri) from None


def _open(uri: str, means: ways.Ways) -> Any:
    keeps_alive = event_loop.ensure()
    try:
        ways.check(uri)
    except ways.Refused as error:
        raise Unreachable(str(error)) from error
    _check_port(uri)
    connection = libvirt.open(complete(uri, means))
    if keeps_alive:
        _keep_alive(connection)
    return connection


def complete(uri: str, means: ways.Ways) -> str:
    """The URI with what libvirt needs besides, and a host's row does not say."""
    if ways.split(uri).scheme == "qemu+ssh":
        return ssh.without_prompts(uri, means.ssh_folder)
    if folder := tls.folder_of(uri, means):
        return ways.with_parameters(uri, {"pkipath": folder})
    return uri


def _keep_alive(connection: Any) -> None:
    try:
        connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
    except libvirt.libvirtError as error:  # drivers inside this process (test:///) have no wire
        if not has_code(error, libvirt.VIR_ERR_NO_SUPPORT):
            raise


def _check_port(uri: str) -> None:
    """libvirt has no limit for a connection attempt; the kernel's is two minutes. Ours is short. ssh has its own."""
    parts = ways.split(uri)
    if parts.scheme not in ("qemu+tcp", "qemu+tls") or not parts.hostname:
        return
    address = (parts.hostname, parts.port or ways.PORTS[parts.scheme])
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        why = (error.strerror or str(error)).lower()  # the number before it is the kernel's, and tells nobody anything
        raise Unreachable(f"{parts.hostname} does not answer on port {address[1]}: {why}") from error


EXPLAIN: dict[str, Callable[[str, str, ways.Ways], str]] = {"qemu+ssh": ssh.explain, "qemu+tls": tls.explain}


def _explained(uri: str, error: libvirt.libvirtError, means: ways.Ways) -> Exception:
    """What went wrong, and what to do about it, where that is known."""
    plain = translate(error)
    explain = EXPLAIN.get(ways.split(uri).scheme)
    said = explain(uri, str(plain), means) if explain else ""
    return Unreachable(said) if said else plain
