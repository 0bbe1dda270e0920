"""A connection to one host: opened when first used, in the process that uses it, and again when lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import libvirt

from compute.hypervisor import fence
from compute.hypervisor.interface import Gone, Unsupported
from compute.hypervisor.libvirt import event_loop, opening
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.ways import Ways

# Connections of a parent process. Python must never free them here: closing one would say goodbye
# to the host over the socket that the parent still uses.
_of_the_parent: list[object] = []


class Session:
    """The host's connection and the handles that all parts of the driver need.

    ``pool`` names the storage pool, ``pool_path`` is its folder on the host; the pool of the
    console logs is called ``<pool>-console`` and lies beside it. ``ways`` are those to the host.
    """

    def __init__(self, uri: str, pool: str, pool_path: str, ways: Ways) -> None:
        self.uri = uri
        self.ways = ways
        self.pool_name = pool
        self.pool_path = pool_path.rstrip("/")
        self.console_pool_name = f"{pool}-console"
        self.console_path = f"{self.pool_path}-console"
        self._lock = threading.Lock()
        self._connection: Any = None
        self._opening: opening.Opening | None = None
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
        return opening.open_now(self.uri, self.ways)

    @contextmanager
    def own_connection(self) -> Iterator[Any]:
        """A connection that nothing else uses, for one long call. In a forked process it has no keepalive."""
        fence.check()
        connection = opening.open_now(self.uri, self.ways)
        try:
            yield connection
        finally:
            with suppress(libvirt.libvirtError):  # it may be what was lost
                connection.close()

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
        if self._opening is not None:
            _of_the_parent.append(self._opening)
        self._connection, self._pools, self._opening, self._process = None, {}, None, os.getpid()

    def _open(self) -> Any:
        """The connection of the attempt that is under way, or of a new one. Raises Unreachable."""
        if self._opening is not None and not self._opening.is_of_use:
            self._opening.leave()
            self._opening = None
        self._opening = attempt = self._opening or opening.Opening(self.uri, self.ways)
        try:
            found = attempt.result()
        except NotYet:
            raise opening.late(self.uri) from None
        except BaseException:
            self._opening = None
            raise
        self._opening = None
        return found
