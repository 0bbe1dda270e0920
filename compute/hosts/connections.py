"""One driver for each host and process, opened when first needed."""

from __future__ import annotations

import os
import threading

from django.conf import settings

from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import Hypervisor
from compute.models import Host

_lock = threading.Lock()
_drivers: dict[tuple[int, str], Hypervisor] = {}


def hypervisor_of(host: Host) -> Hypervisor:
    """The driver of a host. Kept for the life of the process; it reconnects by itself."""
    key = (os.getpid(), host.uri)
    with _lock:
        if key not in _drivers:
            _drivers[key] = open_hypervisor(host.uri, pool=settings.STORAGE_POOL, pool_path=settings.STORAGE_POOL_PATH)
        return _drivers[key]


def forget(host: Host) -> None:
    """The next call gets a driver with a connection of its own: whoever waits in this one may wait for ever."""
    with _lock:
        _drivers.pop((os.getpid(), host.uri), None)
