"""The libvirt driver, put together from its parts."""

from __future__ import annotations

import threading

from compute.hypervisor.libvirt.events import Events
from compute.hypervisor.libvirt.guests import Guests
from compute.hypervisor.libvirt.networks import Networks
from compute.hypervisor.libvirt.session import Session
from compute.hypervisor.ways import Ways

DEFAULT_POOL = "nacelle"
DEFAULT_POOL_PATH = "/var/lib/libvirt/images/nacelle"


class LibvirtHypervisor(Guests, Networks, Events):
    """A host reached by a libvirt URI. Nothing is opened before the first verb.

    One object may be used by several threads. libvirt 5.6 or newer; QEMU 4.2 or newer.
    """

    def __init__(
        self, uri: str, pool: str = DEFAULT_POOL, pool_path: str = DEFAULT_POOL_PATH, ways: Ways | None = None
    ) -> None:
        self.uri = uri
        self._session = Session(uri, pool, pool_path, ways or Ways())
        self._facts = None
        self._refreshed_at = float("-inf")
        self._managed = {}
        self._specs = {}
        self._watched = None
        self._watchers = []
        self._network_lock = threading.Lock()
