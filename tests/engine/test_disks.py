"""Which disks an instance has, and how they come and go on a host."""

from __future__ import annotations

import subprocess
import uuid

import pytest

from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import Host, Instance
from compute.operations import OPERATIONS, disks
from compute.operations.engine import request
from compute.operations.layout import Layout
from tests.engine.matrix import assert_gone, assert_sound, boot, do, shared_host

__all__ = ["shared_host"]
MIB, GIB = 1 << 20, 1 << 30
ID = uuid.UUID(int=1)


def layout(ephemeral_gb: int = 0, swap_mb: int = 0, **names: str) -> Layout:
    return Layout(ID, {"disk_gb": 1, "ephemeral_gb": ephemeral_gb, "swap_mb": swap_mb}, names)


@pytest.mark.parametrize(
    ("wanted", "targets"),
    [
        (layout(), {"vda": "root", "vdz": "config"}),
        (layout(1), {"vda": "root", "vdb": "ephemeral0", "vdz": "config"}),
        (layout(0, 8), {"vda": "root", "vdb": "swap", "vdz": "config"}),
        (layout(1, 8), {"vda": "root", "vdb": "ephemeral0", "vdc": "swap", "vdz": "config"}),
        (
            layout(1, 8, rescue="rescue-7", root="root-3"),
            {"vda": "rescue-7", "vdb": "root-3", "vdc": "ephemeral0", "vdd": "swap", "vdz": "config"},
        ),
    ],
)
def test_the_order_in_which_a_guest_sees_them(wanted: Layout, targets: dict[str, str]) -> None:
    assert {one.target: one.volume.removeprefix(f"{ID}-") for one in wanted.disks()} == targets
    assert [one.target for one in wanted.disks() if one.boot_order] == ["vda"]
    assert sorted(one.volume for one in wanted.disks()) == sorted(wanted.volumes())
    formats = {one.volume.rsplit("-")[-1]: one.format for one in wanted.disks()}
    assert formats.pop("config") == "raw"
    assert set(formats.values()) == {"qcow2"}
    assert wanted.without_rescue().disks()[0].volume == wanted.volume("root")


def test_a_swap_disk_is_what_mkswap_makes(tmp_path) -> None:
    file, raw = tmp_path / "swap.qcow2", tmp_path / "swap"
    file.write_bytes(disks.swap_space(3 * MIB))
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", file, raw], check=True)
    content = raw.read_bytes()
    assert len(content) == 3 * MIB
    assert content[4086:4096] == b"SWAPSPACE2"
    assert content[:1024] == bytes(1024)
    assert int.from_bytes(content[1024:1028], "little") == 1
    assert int.from_bytes(content[1028:1032], "little") == 3 * MIB // 4096 - 1
    assert not any(content[4096:])


@pytest.mark.django_db(transaction=True)
def test_a_boot_makes_them_claims_them_and_a_deletion_leaves_none(cloud, shared_host, alice) -> None:
    cloud.nano.ephemeral_gb, cloud.nano.swap_mb = 2, 1025
    cloud.nano.save()
    instance = boot(alice, cloud)
    sizes = hypervisor_of(shared_host).volumes(prefix=str(instance.id))
    assert sizes[instance.volume("ephemeral0")] == 2 * GIB
    assert sizes[instance.volume("swap")] == 1025 * MIB
    assert Host.objects.get().disk_gb_used == 1 + 2 + 2
    assert_sound(shared_host, instance)
    do(instance, lambda one: request(OPERATIONS["delete"], one, alice.actor))
    assert_gone(shared_host, instance)


@pytest.mark.django_db(transaction=True)
def test_a_boot_that_fails_leaves_none(cloud, shared_host, alice) -> None:
    cloud.nano.ephemeral_gb, cloud.nano.swap_mb = 1, 8
    cloud.nano.save()
    hypervisor_of(shared_host).inject(Fault("start", error="NoSpace", times=10))
    instance = boot(alice, cloud)
    assert Instance.objects.get(pk=instance.pk).vm_state == "error"
    assert hypervisor_of(shared_host).volumes(prefix=str(instance.id)) == {}


@pytest.mark.django_db(transaction=True)
def test_a_sweep_takes_what_nobody_needs_and_nothing_else(cloud, shared_host, alice) -> None:
    driver = hypervisor_of(shared_host)
    others = [f"{ID}-{name}" for name in ("root", "root-3", "notes", "root-3-more", "config")]
    left = [f"{ID}-{name}" for name in ("root-2", "ephemeral0-2", "swap-2", "rescue-9", "config-2")]
    for volume in (*others, *left):
        driver.create_volume(volume, MIB)
    disks.sweep(driver, ID, others[:2])
    assert sorted(driver.volumes(prefix=str(ID))) == sorted(others)
    disks.drop(driver, others)
    assert driver.volumes(prefix=str(ID)) == {}
