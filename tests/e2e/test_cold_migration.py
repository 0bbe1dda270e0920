"""Cold migration and resize between real hosts, asked by the real `openstack` command: the disk goes along.

Until it is confirmed, the host that is left keeps what it had; afterwards it has nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import Cloud
from tests.e2e.lab import connected, domains, nacelle_with, volumes
from tests.e2e.moved import host_of, nothing_is_left, settled
from tests.e2e.nacelle import Nacelle
from tests.e2e.openstack_command import OpenStack
from tests.e2e.serial_port import SHOW_ADDRESS, asked_at

pytestmark = [
    pytest.mark.real,
    pytest.mark.client,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=3, shared=(1, 2)),
]
FILE = "/mnt/disk/file"
SECTORS = "echo sectors $(cat /sys/block/vda/size)"
GIB_SECTORS = 2 << 20
SETTINGS = {"NACELLE_RESIZE_TO_SAME_HOST": "false", "NACELLE_STATE_SYNC_SECONDS": "2", "NACELLE_LEASE_SECONDS": "4"}
COMPUTE = "nova-compute"


@pytest.fixture(scope="module")
def moving(lab: Laboratory) -> Iterator[Nacelle]:
    """A Nacelle whose resizes go to another host, as they do in Nova."""
    with nacelle_with(lab, **SETTINGS) as own:
        yield own


@pytest.fixture
def traveller(lab: Laboratory, moving: Nacelle, tmp_path: Path) -> Iterator[Traveller]:
    """A server on the first host that has written a file. Afterwards nothing of it is left anywhere."""
    cloud = Cloud(moving)
    traveller = Traveller(lab, cloud, administrator(moving, tmp_path))
    yield traveller
    nothing_is_left(cloud, lab, cloud.server(traveller.id))
    cloud.close()


class Traveller:
    """A server that goes from host to host."""

    def __init__(self, lab: Laboratory, cloud: Cloud, openstack: OpenStack) -> None:
        self.lab, self.cloud, self.openstack = lab, cloud, openstack
        self.id = cloud.launch("traveller", host="lab-1")
        self.addresses = cloud.wait_for_status(self.id, "ACTIVE")["addresses"]
        cloud.wait_for_login(self.id)
        self.guest(f"echo first > {FILE}", "sync")

    def guest(self, *commands: str) -> str:
        """What the guest's shell prints, on the host that the row names."""
        with connected(host_of(self.lab, self.cloud.server(self.id))) as connection:
            return asked_at(connection, self.id, *commands)

    def has_kept(self, content: str) -> None:
        """It has booted from its own disk, and has its own address."""
        self.cloud.wait_for_login(self.id)
        said = self.guest(f"cat {FILE}", SHOW_ADDRESS)
        assert f"\n{content}\n" in said
        (address,) = (one["addr"] for given in self.addresses.values() for one in given)
        assert f"inet {address}/" in said
        assert self.cloud.server(self.id)["addresses"] == self.addresses

    def move(self, *words: str) -> None:
        """Ask for it with the command, which waits for its end."""
        self.openstack("server", *words, "--wait", self.id)

    def is_on(self, number: int, status: str, left: int | None = None) -> None:
        """Rows and hosts agree that it is there. ``left``: the host that has it too, off, to be taken back."""
        server = settled(self.cloud, self.lab, self.id)
        assert (server["OS-EXT-SRV-ATTR:host"], server["status"]) == (f"lab-{number}", status), server
        if left is not None:
            assert domains(self.lab.host(left)).get(self.id, False) is False
            assert any(self.id in name for name in volumes(self.lab.host(left)))

    def migrations(self) -> list[tuple[str, str, str, str]]:
        """Type, status and the two hosts of each, the newest first, as the command lists them."""
        listed = self.openstack.json("server", "migration", "list", "--server", self.id)
        return [(one["Type"], one["Status"], one["Source Compute"], one["Dest Compute"]) for one in listed]


@pytest.fixture
def only_one_and_three(moving: Nacelle, tmp_path: Path) -> Iterator[None]:
    """The second host takes no servers."""
    openstack = administrator(moving, tmp_path)
    openstack("compute", "service", "set", "--disable", "--disable-reason", "new disks", "lab-2", COMPUTE)
    yield
    openstack("compute", "service", "set", "--enable", "lab-2", COMPUTE)


def test_taken_back_and_resized_where_nothing_is_shared(only_one_and_three: None, traveller: Traveller) -> None:
    openstack = traveller.openstack
    traveller.move("migrate")  # its own host has as much room, and is left out
    traveller.is_on(3, "VERIFY_RESIZE", left=1)
    assert traveller.migrations() == [("migration", "finished", "lab-1", "lab-3")]
    traveller.has_kept("first")
    traveller.guest(f"echo second > {FILE}", "sync")
    openstack("server", "migration", "revert", traveller.id)
    traveller.is_on(1, "ACTIVE")
    assert traveller.migrations() == [("migration", "reverted", "lab-1", "lab-3")]

    openstack("flavor", "create", "--ram", "192", "--disk", "2", "--vcpus", "1", "larger")
    traveller.move("resize", "--flavor", "larger")
    traveller.is_on(3, "VERIFY_RESIZE", left=1)
    traveller.has_kept("first")  # what it wrote on the other host was taken back with the move
    assert f"sectors {2 * GIB_SECTORS}" in traveller.guest(SECTORS)
    openstack("server", "resize", "confirm", traveller.id)
    traveller.is_on(3, "ACTIVE")
    assert traveller.migrations()[0] == ("resize", "confirmed", "lab-1", "lab-3")
    assert traveller.cloud.server(traveller.id)["flavor"]["original_name"] == "larger"


def test_confirmed_where_the_storage_is_shared_and_then_nowhere_to_go(traveller: Traveller) -> None:
    openstack, lab = traveller.openstack, traveller.lab
    disks = own(volumes(lab.host(1)), traveller.id)
    assert "Cannot migrate to the host where the server exists" in traveller.openstack.refused(
        "server", "migrate", "--host", "lab-1", traveller.id
    )
    traveller.move("migrate", "--host", "lab-2")
    traveller.is_on(2, "VERIFY_RESIZE", left=1)
    traveller.has_kept("first")
    openstack("server", "migration", "confirm", traveller.id)
    traveller.is_on(2, "ACTIVE")
    assert own(volumes(lab.host(2)), traveller.id) == disks  # nothing was copied, and nothing deleted
    (listed,) = openstack.json("server", "migration", "list", "--server", traveller.id)
    assert (listed["Status"], listed["Dest Compute"]) == ("confirmed", "lab-2")
    try:
        for name in ("lab-1", "lab-3"):
            openstack("compute", "service", "set", "--disable", name, COMPUTE)
        openstack("server", "migrate", traveller.id)
        traveller.is_on(2, "ACTIVE")
        said = last_message(openstack, traveller.id)
        assert said.startswith("No valid host was found: of 3 hosts, "), said
        assert "the server is there now" in said and "down or disabled on 2" in said, said
    finally:
        for name in ("lab-1", "lab-3"):
            openstack("compute", "service", "set", "--enable", name, COMPUTE)
    assert traveller.migrations()[0][1] == "error"
    traveller.guest(f"cat {FILE}")  # it was not touched: nobody has to boot


def administrator(nacelle: Nacelle, folder: Path) -> OpenStack:
    """The command, at a version that names hosts and lists migrations by server."""
    openstack = OpenStack(nacelle, folder)
    openstack.environment["OS_COMPUTE_API_VERSION"] = "2.80"
    return openstack


def own(names: set[str], server_id: str) -> set[str]:
    """Its disks among volumes: what it said is its host's."""
    return {name for name in names if server_id in name and not name.endswith(".log")}


def last_message(openstack: OpenStack, server_id: str) -> Any:
    """Why the last operation failed."""
    event: Any = openstack.json("server", "event", "list", server_id)[0]
    return openstack.json("server", "event", "show", server_id, event["Request ID"])["message"]
