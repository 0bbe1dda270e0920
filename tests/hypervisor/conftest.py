"""Drivers to test, on things of their own: no test touches what a running Nacelle uses."""

from __future__ import annotations

import secrets
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import Disk, Guest, Hypervisor, NetworkSpec
from compute.hypervisor.libvirt import LibvirtHypervisor, daemons
from compute.images.tiny import build as tiny

IMAGES = "/var/lib/libvirt/images"
LIBVIRT = pytest.param("libvirt", marks=pytest.mark.real)


@pytest.fixture(scope="session")
def libvirtd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """libvirt's daemons run; those that were started for the tests are ended again."""
    started = daemons.ensure_running(tmp_path_factory.mktemp("libvirt"))
    yield
    daemons.end(started)


@pytest.fixture(scope="session")
def real(libvirtd: None) -> Iterator[LibvirtHypervisor]:
    """This machine's QEMU, with a storage pool that goes with the tests."""
    name = f"nacelle-test-{uuid.uuid4().hex[:8]}"
    driver = LibvirtHypervisor("qemu:///system", name, f"{IMAGES}/{name}")
    driver.prepare()
    yield driver
    connection = driver._session.connection()
    for pool in (name, f"{name}-console"):
        remove_pool(connection.storagePoolLookupByName(pool))
    driver.close()


def remove_pool(pool: Any) -> None:
    """With all that is in it."""
    pool.refresh()
    for volume in pool.listAllVolumes():
        volume.delete()
    pool.destroy()
    pool.delete(0)
    pool.undefine()


@pytest.fixture(scope="session")
def tiny_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny guest's disk as a raw file."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.build(folder / "tiny.qcow2", folder / "build")
    raw = folder / "tiny.raw"
    command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(folder / "tiny.qcow2"), str(raw)]
    subprocess.run(command, check=True)
    return raw


def at(spec: NetworkSpec, number: int) -> str:
    """An address of the network."""
    return spec.gateway.removesuffix(".1") + f".{number}"


@dataclass
class Bench:
    """A driver, and what a test has put on its host."""

    driver: Hypervisor
    kind: str
    guests: list[uuid.UUID] = field(default_factory=list)
    networks: list[uuid.UUID] = field(default_factory=list)

    def network(self, **facts: Any) -> NetworkSpec:
        """Values of a network that nothing else on the machine uses; the test makes it."""
        prefix = f"10.{secrets.choice(range(200, 250))}.{16 * (len(self.networks) + 1)}"
        spec = NetworkSpec(uuid.uuid4(), f"{prefix}.0/20", f"{prefix}.1", **facts)
        self.networks.append(spec.uuid)
        return spec

    def guest(self, **facts: Any) -> Guest:
        """Values of a guest with an empty disk; the disk is there, the test makes the guest."""
        identity = uuid.uuid4()
        self.guests.append(identity)
        values: dict[str, Any] = {"title": "a title", "vcpus": 1, "memory_mb": 64}
        if "disks" not in facts:
            self.driver.create_volume(f"disk-{identity}", 1 << 20)
            values["disks"] = (Disk(f"disk-{identity}", "vda"),)
        return Guest(identity, f"nacelle-test-{identity.hex[:8]}", **(values | facts))

    def clear(self) -> None:
        """Nothing of it remains."""
        for guest in self.guests:
            self.driver.remove(guest)
        for network in self.networks:
            self.driver.remove_network(network)
        for volume in self.driver.volumes():
            self.driver.delete_volume(volume)


@pytest.fixture(params=["fake", LIBVIRT])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Each driver in turn."""
    kind = request.param
    driver = request.getfixturevalue("real") if kind == "libvirt" else open_hypervisor(f"fake://{uuid.uuid4()}")
    bench = Bench(driver, kind)
    yield bench
    bench.clear()
    if kind == "fake":
        driver.close()


@pytest.fixture
def real_bench(real: LibvirtHypervisor) -> Iterator[Bench]:
    """libvirt alone, for what a fake host cannot show."""
    bench = Bench(real, "libvirt")
    yield bench
    bench.clear()
