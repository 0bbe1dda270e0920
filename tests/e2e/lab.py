"""A laboratory of hosts for the tests, and what its hosts' libvirt says."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar

import libvirt

from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import RANGES, Laboratory
from tests.e2e.nacelle import IMAGES, Nacelle

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
POOL = "lab"
POOL_PATH = IMAGES / POOL
LAB_SETTINGS = {
    "NACELLE_TRUSTED_HOSTS": str(RANGES),
    "NACELLE_STORAGE_POOL": POOL,
    "NACELLE_STORAGE_POOL_PATH": str(POOL_PATH),
}


@contextlib.contextmanager
def laboratory(hosts: int = 3, shared: Collection[int] = ()) -> Iterator[Laboratory]:
    """One of the test's own, gone afterwards. ``shared``: the hosts with the same storage, such as 1 and 2."""
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    folder.chmod(0o755)
    made = Laboratory(folder)
    try:
        made.up(hosts, shared, str(POOL_PATH) if shared else "")
        yield made
    finally:
        made.down()
        shutil.rmtree(folder, ignore_errors=True)


def heal(lab: Laboratory) -> None:
    """Every host has power and cable, and its libvirtd runs and answers."""
    plan = lab.plan
    assert plan is not None
    lab.up(plan.hosts, plan.shared, plan.shared_path)


@contextlib.contextmanager
def nacelle_with(lab: Laboratory, *uris: str, **settings: str) -> Iterator[Nacelle]:
    """A Nacelle that runs with these hosts and no other, perhaps reached in another way than straight.

    It leaves them as they are: they go too.
    """
    own = Nacelle(*(uris or [host.uri for host in lab.hosts]), **LAB_SETTINGS, **settings)
    try:
        own.build_image()
        own.start_on_hosts(*(host.name for host in lab.hosts))
        yield own
    finally:
        own.remove(leave_hosts=True)


def in_network_of(host: LabHost, work: Callable[[], T]) -> T:
    """Do something that opens sockets as if it were done on the host."""
    done: list[T] = []

    def run() -> None:
        with Path(f"/proc/{host.first_process()}/ns/net").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        done.append(work())

    thread = threading.Thread(target=run)  # a thread may be elsewhere than the others; it ends there
    thread.start()
    thread.join()
    return done[0]


@contextlib.contextmanager
def connected(host: LabHost) -> Iterator[Any]:
    """A connection to a host's libvirt."""
    connection = libvirt.open(host.uri)
    try:
        yield connection
    finally:
        connection.close()


def domains(host: LabHost) -> dict[str, bool]:
    """The guests that a host knows by their uuid, and whether each runs."""
    with connected(host) as connection:
        running = {domain.UUIDString() for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)}
        return {uuid: uuid in running for uuid in (domain.UUIDString() for domain in connection.listAllDomains())}


def stands_still(host: LabHost) -> bool:
    """Whether its libvirtd is stopped."""
    return Path(f"/proc/{host.pid_of('libvirtd')}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def volumes(host: LabHost) -> set[str]:
    """The names of all volumes in a host's pools, console logs included."""
    with connected(host) as connection:
        pools = [pool for pool in connection.listAllStoragePools() if pool.isActive()]
        for pool in pools:
            pool.refresh()
        return {name for pool in pools for name in pool.listVolumes()}


def reservations(host: LabHost) -> set[str]:
    """The hardware addresses that a host's networks keep an address for."""
    with connected(host) as connection:
        lines = [line for network in connection.listAllNetworks() for line in network.XMLDesc().splitlines()]
    return {line.split("mac='")[1].split("'")[0] for line in lines if "<host mac='" in line}


def leases(host: LabHost) -> dict[str, str]:
    """The addresses that a host's DHCP servers have given out, by hardware address."""
    with connected(host) as connection:
        given = [lease for network in connection.listAllNetworks() for lease in network.DHCPLeases()]
    return {lease["mac"]: lease["ipaddr"] for lease in given}
