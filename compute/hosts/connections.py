"""One driver for each host and process, opened when first needed."""

from __future__ import annotations

import os
import threading

from django.conf import settings

from compute.errors import Conflict
from compute.hosts import certificates
from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import Hypervisor, Unreachable
from compute.hypervisor.ways import Ways
from compute.models import Host

_lock = threading.Lock()
_drivers: dict[tuple[int, str], Hypervisor] = {}


def hypervisor_of(host: Host) -> Hypervisor:
    """The driver of a host. Kept for the life of the process; it reconnects by itself."""
    key = (os.getpid(), host.uri)
    with _lock:
        if key not in _drivers:
            _drivers[key] = hypervisor_at(host.uri)
        return _drivers[key]


def hypervisor_at(uri: str) -> Hypervisor:
    """A driver of one's own for a URI; whoever asks for it closes it. Raises ``ways.Refused``."""
    return open_hypervisor(uri, pool=settings.STORAGE_POOL, pool_path=settings.STORAGE_POOL_PATH, ways=ways())


def ways() -> Ways:
    """What this cloud has for reaching hosts."""
    return Ways(pki=_certificates, ssh_folder=str(settings.DATA_DIR / "ssh"))


def _certificates() -> str:
    """The folder with the cloud's own certificate; without one no host can be reached that wants to see it."""
    try:
        return certificates.client_folder()
    except Conflict as error:
        raise Unreachable(str(error)) from error


def forget(host: Host) -> None:
    """The next call gets a driver with a connection of its own: whoever waits in this one may wait for ever."""
    with _lock:
        _drivers.pop((os.getpid(), host.uri), None)
