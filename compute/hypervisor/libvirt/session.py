"""A connection to one host: opened when first used, in the process that uses it, and again when lost."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import libvirt

from compute.hypervisor import fence
from compute.hypervisor.interface import Gone, Unreachable, Unsupported
from compute.hypervisor.libvirt import event_loop
from compute.hypervisor.libvirt.errors import has_code, plain_errors

# A host that is silent for 5 s is asked three times more: after 20 s its calls fail, not hang.
KEEPALIVE_INTERVAL = 5
KEEPALIVE_COUNT = 3
CONNECT_SECONDS = 5.0
PORTS = {"qemu+tcp": 16509, "qemu+tls": 16514}

# Connections of a parent process. Python must never free them here: closing one would say goodbye
# to the host over the socket that the parent still uses.
_of_the_parent: list[object] = []


class Session:
    """The host's connection and the handles that all parts of the driver need.

    ``pool`` names the storage pool, ``pool_path`` is its folder on the host; the pool of the
    console logs is called ``<pool>-console`` and lies beside it.
    """

    def __init__(self, uri: str, pool: str, pool_path: str) -> None:
        self.uri = uri
        self.pool_name = pool
        self.pool_path = pool_path.rstrip("/")
        self.console_pool_name = f"{pool}-console"
        self.console_path = f"{self.pool_path}-console"
        self._lock = threading.Lock()
        self._connection: Any = None
        self._process = 0
        self._pools: dict[str, Any] = {}

    def connection(self) -> Any:
        """The open connection. Raises Unreachable if the host does not answer."""
        fence.check()
        with self._lock:
            if self._process != os.getpid():
                self._forget_parent()
            if self._connection is None or not self._connection.isAlive():
                self._pools = {}
                self._connection = self._open()
            return self._connection

    def pool(self) -> Any:
        """The storage pool's handle. Raises Gone if the host was not prepared."""
        return self._pool(self.pool_name)

    def console_pool(self) -> Any:
        """The handle of the pool that holds the console logs."""
        return self._pool(self.console_pool_name)

    def domain(self, uuid: UUID) -> Any:
        """The guest's handle. Raises Gone."""
        with plain_errors():
            return self.connection().lookupByUUIDString(str(uuid))

    def another_connection(self) -> Any:
        """A connection of the caller's own, with its events; the caller closes it.

        Raises Unsupported in a process that was forked from one with a connection: no events there.
        """
        if not event_loop.ensure():
            raise Unsupported("This process inherited a connection to libvirt and cannot wait for events.")
        return self._open()

    def close(self) -> None:
        """Let the connection go. A later call opens a new one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                with plain_errors():
                    connection.close()

    def _pool(self, name: str) -> Any:
        connection = self.connection()
        if name not in self._pools:
            try:
                self._pools[name] = connection.storagePoolLookupByName(name)
            except libvirt.libvirtError as error:
                if has_code(error, libvirt.VIR_ERR_NO_STORAGE_POOL):
                    raise Gone(f"The host has no storage pool {name!r}. It was not prepared.") from error
                raise
        return self._pools[name]

    def _forget_parent(self) -> None:
        if self._connection is not None:
            _of_the_parent.extend([self._connection, self._pools])
        self._connection, self._pools, self._process = None, {}, os.getpid()

    def _open(self) -> Any:
        keeps_alive = event_loop.ensure()
        _check_port(self.uri)
        with plain_errors():
            connection = libvirt.open(without_prompts(self.uri))
            if keeps_alive:
                self._keep_alive(connection)
            return connection

    def _keep_alive(self, connection: Any) -> None:
        try:
            connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        except libvirt.libvirtError as error:  # drivers inside this process (test:///) have no wire
            if not has_code(error, libvirt.VIR_ERR_NO_SUPPORT):
                raise


def without_prompts(uri: str) -> str:
    """The URI, told that nobody is there to type a password: ssh fails at once instead of waiting."""
    parts = urlsplit(uri)
    if not parts.scheme.endswith("+ssh") or "no_tty=" in parts.query:
        return uri
    query = f"{parts.query}&no_tty=1" if parts.query else "no_tty=1"
    return urlunsplit(parts._replace(query=query))


def _check_port(uri: str) -> None:
    """libvirt has no limit for a connection attempt; the kernel's is two minutes. Ours is short."""
    parts = urlsplit(uri)
    if parts.scheme not in PORTS or not parts.hostname:
        return
    address = (parts.hostname, parts.port or PORTS[parts.scheme])
    try:
        socket.create_connection(address, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise Unreachable(f"{parts.hostname} does not answer on port {address[1]}: {error}") from error
