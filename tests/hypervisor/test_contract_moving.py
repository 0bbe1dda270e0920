"""What both drivers promise of storage that hosts share, and of volumes on their way to another host."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import Disk, Failed, Gone, Hypervisor, VolumeFile
from compute.hypervisor.libvirt import LibvirtHypervisor
from tests.hypervisor.conftest import IMAGES, LIBVIRT, Bench, remove_pool

MIB = 1024**2
CONTENT = os.urandom(MIB) + bytes(MIB)


class TwoHosts:
    """Two drivers with pools of their own, or with one folder for both."""

    def __init__(self, kind: str, shared: bool, folder: Path) -> None:
        self.kind, self._pools = kind, []
        names = [f"nacelle-test-{uuid.uuid4().hex[:8]}" for _ in range(2)]
        if kind == "fake":
            storage = "&storage=one" if shared else ""
            uris = [f"fake://{folder}/hosts.sqlite3?host={name}{storage}" for name in names]
            self.first, self.second = (open_hypervisor(uri) for uri in uris)
            return
        self._pools = [(name, f"{IMAGES}/{name}") for name in names]
        if shared:  # libvirt takes no folder twice, but a link has a path of its own
            os.mkdir(self._pools[0][1], 0o711)
            os.symlink(self._pools[0][1], self._pools[1][1])
        self.first, self.second = (LibvirtHypervisor("qemu:///system", *pool) for pool in self._pools)
        for driver in (self.first, self.second):
            driver.prepare()

    def clear(self) -> None:
        """Nothing of it remains."""
        for name, path in self._pools[::-1]:
            connection = self.first._session.connection()
            if os.path.islink(path):  # the volumes are the other's
                os.remove(path)
                connection.storagePoolLookupByName(name).destroy()
                connection.storagePoolLookupByName(name).undefine()
            else:
                remove_pool(connection.storagePoolLookupByName(name))
            remove_pool(connection.storagePoolLookupByName(f"{name}-console"))


@pytest.fixture(params=["fake", LIBVIRT])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "libvirt":
        request.getfixturevalue("libvirtd")
    return str(request.param)


@pytest.fixture
def apart(kind: str, tmp_path: Path) -> Iterator[TwoHosts]:
    hosts = TwoHosts(kind, False, tmp_path)
    yield hosts
    hosts.clear()


@pytest.fixture
def together(kind: str, tmp_path: Path) -> Iterator[TwoHosts]:
    hosts = TwoHosts(kind, True, tmp_path)
    yield hosts
    hosts.clear()


def bring(volume: str, source: Hypervisor, target: Hypervisor, format: str = "qcow2") -> VolumeFile:
    file = source.volume_file(volume, format)
    content = b"".join(source.download(volume))
    assert len(content) == file.size_bytes
    target.receive(volume, io.BytesIO(content), file)
    return file


def bring_base(base: str, source: Hypervisor, target: Hypervisor, size: int) -> None:
    target.ensure_base(base, size, lambda: iter(source.download(base)))


def test_hosts_know_whether_they_have_their_storage_in_common(apart: TwoHosts) -> None:
    names = {one.storage_id() for one in (apart.first, apart.second)}
    assert len(names) == 2
    assert names == {one.storage_id() for one in (apart.first, apart.second)}
    assert apart.first.volumes() == apart.second.volumes() == {}


def test_storage_in_common_is_seen_anew(together: TwoHosts) -> None:
    first, second = together.first, together.second
    assert first.storage_id() == second.storage_id()
    first.create_volume("one", MIB)
    second.storage_id()
    assert second.volumes() == {"one": MIB}
    second.delete_volume("one")
    first.storage_id()
    assert first.volumes() == {}


def test_a_base_in_storage_in_common_is_brought_once(together: TwoHosts) -> None:
    if together.kind == "libvirt":
        pytest.skip("on one machine the folder has two paths; hosts of a laboratory see it under one")
    assert together.first.ensure_base("base", len(CONTENT), lambda: iter([CONTENT]))
    assert not together.second.ensure_base("base", len(CONTENT), lambda: iter([CONTENT]))
    together.second.create_overlay("disk", "base", 4 * MIB)
    together.first.storage_id()
    assert together.first.volume_file("disk").base == "base"


def test_a_disk_goes_to_another_host_with_its_base(apart: TwoHosts) -> None:
    first, second = apart.first, apart.second
    first.ensure_base("base", len(CONTENT), lambda: iter([CONTENT]))
    first.create_overlay("disk", "base", 4 * MIB)
    file = first.volume_file("disk")
    assert (file.format, file.base, file.base_bytes) == ("qcow2", "base", len(CONTENT))
    with pytest.raises(Gone):
        bring("disk", first, second)
    assert second.volumes() == {}
    bring_base("base", first, second, file.base_bytes)
    for _ in range(2):  # what an earlier try has left is replaced
        bring("disk", first, second)
    assert second.volumes("disk") == {"disk": 4 * MIB}
    assert second.volume_file("disk").base == "base"
    first.delete_volume("disk")
    first.delete_volume("base")
    assert b"".join(second.download("base")) == CONTENT


def test_flat_and_raw_disks_go_too(apart: TwoHosts) -> None:
    first, second = apart.first, apart.second
    looks_like_an_overlay = struct.pack(">4sIQII", b"QFI\xfb", 3, 64, 9, 16) + bytes(40) + b"/etc/fstab" + bytes(5000)
    first.upload("config", io.BytesIO(looks_like_an_overlay), len(looks_like_an_overlay))
    first.create_volume("more", 3 * MIB)
    assert bring("config", first, second, "raw") == VolumeFile(len(looks_like_an_overlay), "raw")
    assert bring("more", first, second).base is None
    assert b"".join(second.download("config")) == looks_like_an_overlay
    assert second.volumes("more") == {"more": 3 * MIB}


def test_a_file_that_breaks_off_leaves_nothing(apart: TwoHosts) -> None:
    apart.first.create_volume("disk", MIB)
    file, content = apart.first.volume_file("disk"), b"".join(apart.first.download("disk"))

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        apart.second.receive("disk", Broken(), file)
    with pytest.raises(Failed, match="announced"):
        apart.second.receive("disk", io.BytesIO(content[:-5]), file)
    assert apart.second.volumes() == {}
    with pytest.raises(Gone):
        apart.first.volume_file("nothing")


@pytest.mark.real
def test_a_moved_disk_holds_what_was_written_to_it(libvirtd: None, tmp_path: Path) -> None:
    hosts = TwoHosts("libvirt", False, tmp_path)
    try:
        first, second = hosts.first, hosts.second
        first.ensure_base("base", len(CONTENT), lambda: iter([CONTENT]))
        second.ensure_base("base", len(CONTENT), lambda: iter([CONTENT]))  # under another name than on the first
        first.create_overlay("disk", "base", 4 * MIB)
        path = f"{hosts._pools[0][1]}/disk"
        subprocess.run(
            ["qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 65536 65536", path], check=True, capture_output=True
        )
        subprocess.run(["qemu-img", "snapshot", "-c", "kept", path], check=True)
        subprocess.run(
            ["qemu-io", "-f", "qcow2", "-c", "write -P 0x5b 65536 65536", path], check=True, capture_output=True
        )
        bring("disk", first, second)
        moved = f"{hosts._pools[1][1]}/disk"
        info = subprocess.run(["qemu-img", "info", moved], check=True, capture_output=True, text=True).stdout
        assert "kept" in info and f"backing file: {hosts._pools[1][1]}/base.data-" in info
        subprocess.run(["qemu-img", "check", moved], check=True, capture_output=True)
        reads = ["read -P 0x5b 65536 65536", f"read -P 0 {2 * MIB} 65536"]
        for read in reads:
            shown = subprocess.run(["qemu-io", "-r", "-c", read, moved], check=True, capture_output=True, text=True)
            assert "verification failed" not in shown.stdout
        first.delete_volume("disk")
        guest = Bench(second, "libvirt").guest(disks=(Disk("disk", "vda"),))
        second.define(guest)
        second.start(guest.uuid)
        second.remove(guest.uuid)
    finally:
        hosts.clear()
