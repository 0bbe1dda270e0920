"""What only a guest with a system can show: it goes on where it was, hears, and lets go."""

from __future__ import annotations

import base64
import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import libvirt
import pytest

from compute.hypervisor.interface import (
    Busy,
    Disk,
    Failed,
    Guest,
    Hypervisor,
    Nic,
    PowerState,
    Reservation,
    Unsupported,
    mac_for,
)
from compute.hypervisor.libvirt import LibvirtHypervisor, copies, devices, xml, xml_backup
from tests.hypervisor.conftest import Bench, at
from tests.hypervisor.test_libvirt import PROMPT, Booted, Talk, answers, boot, wait_until

pytestmark = pytest.mark.real

MIB = 1024**2
BOOT_SECONDS = 300.0  # of an emulated guest, on a machine that does much else

# An agent of a few lines: it answers libvirt's greeting, and keeps what it was asked. Until libvirt has
# seen that the port is open in the guest, reading from it says "end of file".
AGENT = (
    "port=/dev/$(cd /sys/class/virtio-ports && grep -l guest_agent */name | cut -d/ -f1); "
    '(while true; do read -r asked || { sleep 0.1; continue; }; echo "$asked" >> /tmp/asked; case $asked in '
    '*guest-sync*) echo "{\\"return\\": $(echo "$asked" | sed \'s/.*"id": *//;s/[^0-9].*//\')}";; '
    "*) echo '{\"return\": {}}';; esac; done <>$port >&0) & echo agent $((6*7))"
)


def logged_in(driver: Hypervisor, guest: UUID) -> Talk:
    talk = Talk(driver.serial(guest))
    talk.say(b"", PROMPT)
    talk.say(b"root", b"assword:")
    talk.say(b"nacelle", b"# ")
    return talk


def at_prompt(bench: Bench, tiny_raw: Path) -> Booted:
    booted = boot(bench, tiny_raw)
    assert wait_until(lambda: PROMPT in bench.driver.console_log(booted.guest.uuid), BOOT_SECONDS)
    return booted


# memory -------------------------------------------------------------------------------------------
def test_a_suspended_guest_goes_on_where_it_was(real_bench: Bench, tiny_raw: Path) -> None:
    booted = at_prompt(real_bench, tiny_raw)
    driver, guest = real_bench.driver, booted.guest.uuid
    with logged_in(driver, guest) as talk:
        talk.say(b"kept=$((6*7)); cat /proc/sys/kernel/random/boot_id > /tmp/boot; echo done$kept", b"done42")
    driver.suspend(guest)
    driver.define(booted.guest)
    driver.resume(guest)
    with Talk(driver.serial(guest)) as talk:
        talk.say(b"echo still $kept; cmp /tmp/boot /proc/sys/kernel/random/boot_id && echo same $kept", b"same 42")
    assert wait_until(lambda: answers(booted.address))


def test_a_cold_start_forgets_what_was_saved(real_bench: Bench, tiny_raw: Path) -> None:
    booted = at_prompt(real_bench, tiny_raw)
    driver, guest = real_bench.driver, booted.guest.uuid
    driver.suspend(guest)
    driver.start(guest)
    assert driver.guest_usage()[guest].cpu_seconds < 30
    log = driver.console_log(guest)
    assert PROMPT not in log, "the log begins anew with the boot"
    assert wait_until(lambda: PROMPT in driver.console_log(guest), BOOT_SECONDS)


def test_a_paused_guest_answers_again(real_bench: Bench, tiny_raw: Path) -> None:
    booted = at_prompt(real_bench, tiny_raw)
    assert wait_until(lambda: answers(booted.address))
    real_bench.driver.pause(booted.guest.uuid)
    assert not answers(booted.address)
    real_bench.driver.unpause(booted.guest.uuid)
    assert wait_until(lambda: answers(booted.address))


# what runs inside ---------------------------------------------------------------------------------
def test_the_guest_hears_an_interrupt(real_bench: Bench, tiny_raw: Path) -> None:
    booted = at_prompt(real_bench, tiny_raw)
    driver, guest = real_bench.driver, booted.guest.uuid
    with logged_in(driver, guest) as talk:
        talk.say(b"echo 8 > /proc/sys/kernel/printk; echo ready $((6*7))", b"ready 42")
    driver.inject_nmi(guest)
    assert wait_until(lambda: b"NMI" in driver.console_log(guest))


def test_the_agent_in_the_guest_sets_a_password(real_bench: Bench, tiny_raw: Path) -> None:
    booted = at_prompt(real_bench, tiny_raw)
    driver, guest = real_bench.driver, booted.guest.uuid
    with logged_in(driver, guest) as talk:
        talk.say(b"until ls /sys/class/virtio-ports/*/name; do sleep 0.2; done; echo ready $((6*7))", b"ready 42")
        talk.say(AGENT.encode(), b"agent 42")
        driver.set_password(guest, "root", "a secret")
        talk.say(b"cat /tmp/asked; echo read $((6*7))", b"read 42")
        assert b'"username":"root"' in talk.heard
        assert base64.b64encode(b"a secret") in talk.heard


def test_an_agent_that_fell_silent_is_not_waited_for_long(real_bench: Bench, tiny_raw: Path) -> None:
    booted = at_prompt(real_bench, tiny_raw)
    driver, guest = real_bench.driver, booted.guest.uuid
    with logged_in(driver, guest) as talk:
        talk.say(b"until ls /sys/class/virtio-ports/*/name; do sleep 0.2; done; echo ready $((6*7))", b"ready 42")
        talk.say(b"sleep 600 <>/dev/$(ls /sys/class/virtio-ports) & echo silent $((6*7))", b"silent 42")
        before = time.monotonic()
        with pytest.raises(Unsupported, match="agent"):
            driver.set_password(guest, "root", "a secret")
        assert time.monotonic() - before < 20


# network cards ------------------------------------------------------------------------------------
def second_card(bench: Bench) -> tuple[Nic, str]:
    spec = bench.network()
    bench.driver.ensure_network(spec)
    address = at(spec, 7)
    nic = Nic(mac_for(spec.uuid, spec.cidr, address), spec.uuid, address)
    bench.driver.reserve(spec.uuid, Reservation(nic.mac, address))
    return nic, address


def test_a_card_is_plugged_in_and_out(real_bench: Bench, tiny_raw: Path) -> None:
    booted = at_prompt(real_bench, tiny_raw)
    driver, guest = real_bench.driver, booted.guest.uuid
    nic, address = second_card(real_bench)
    for _ in range(2):
        driver.attach_nic(guest, nic)
        assert wait_until(lambda: answers(address)), "it has its address by DHCP"
        driver.detach_nic(guest, nic.mac)
        assert nic.mac not in driver._session.domain(guest).XMLDesc()  # type: ignore[attr-defined]  # libvirt's own
        assert wait_until(lambda: not answers(address), 5)
    assert answers(booted.address), "the first card is as it was"


def test_a_guest_that_does_not_let_go_is_busy(real_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "RELEASE_SECONDS", 1.0)
    nic, _ = second_card(real_bench)
    guest = real_bench.guest(nics=(nic,))  # it has no system that could
    real_bench.driver.define(guest)
    real_bench.driver.start(guest.uuid)
    with pytest.raises(Busy, match="let go"):
        real_bench.driver.detach_nic(guest.uuid, nic.mac)
    real_bench.driver.destroy(guest.uuid)
    real_bench.driver.start(guest.uuid)
    domain = real_bench.driver._session.domain(guest.uuid)  # type: ignore[attr-defined]  # libvirt's own
    assert nic.mac in domain.XMLDesc(), "its definition still has the card"


# copies of disks ----------------------------------------------------------------------------------
def test_a_guest_boots_from_a_copy_with_what_was_written(real_bench: Bench, tiny_raw: Path) -> None:
    booted = at_prompt(real_bench, tiny_raw)
    driver, guest = real_bench.driver, booted.guest
    with logged_in(driver, guest.uuid) as talk:
        talk.say(b"echo written > /mnt/disk/file; sync; echo done $((6*7))", b"done 42")
        driver.copy_disk(guest.uuid, guest.disks[0].volume, "copy", lambda percent: True)
        talk.say(b"echo goes on $((6*7))", b"goes on 42")
    driver.destroy(guest.uuid)
    other = real_bench.guest(memory_mb=256, disks=(Disk("copy", "vda", boot_order=1),))
    driver.define(other)
    driver.start(other.uuid)
    assert wait_until(lambda: PROMPT in driver.console_log(other.uuid), BOOT_SECONDS)
    with logged_in(driver, other.uuid) as talk:
        talk.say(b"cat /mnt/disk/file", b"written")


LARGE = 192 * MIB


def large(bench: Bench) -> Guest:
    """A guest on an overlay of a base that takes a moment to copy."""

    def content() -> Iterator[bytes]:
        return (os.urandom(MIB) for _ in range(LARGE // MIB))

    bench.driver.ensure_base("base", LARGE, content)
    bench.driver.create_overlay("disk", "base", LARGE)
    guest = bench.guest(disks=(Disk("disk", "vda"),))
    bench.driver.define(guest)
    return guest


@pytest.mark.parametrize("on", [True, False])
def test_a_copy_tells_how_far_it_is_and_can_be_given_up(
    real_bench: Bench, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    monkeypatch.setattr(copies, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(copies, "POLL_SECONDS", 0.005)  # a quick disk copies much in ten times as long
    driver, guest, told = real_bench.driver, large(real_bench), list[int]()
    if on:
        driver.start(guest.uuid)
        driver.pause(guest.uuid)

    def tell(percent: int) -> bool:
        told.append(percent)
        return percent < 10

    with pytest.raises(Busy, match="given up"):
        driver.copy_disk(guest.uuid, "disk", "copy", tell)
    assert 10 <= told[-1] < 100, "in the middle of it"
    assert driver.volumes("copy") == {}
    seen = driver.guest(guest.uuid)
    assert seen is not None
    assert seen.power_state == (PowerState.PAUSED if on else PowerState.SHUTDOWN)
    driver.copy_disk(guest.uuid, "disk", "copy", lambda percent: True)


def test_a_copy_whose_caller_died_is_replaced(real_bench: Bench, real: LibvirtHypervisor) -> None:
    guest = large(real_bench)
    real.start(guest.uuid)
    real._create("copy", LARGE, "qcow2")
    backup = xml.to_string(xml_backup.push("vda", f"{real._session.pool_path}/copy"))
    flag = libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL
    real._session.domain(guest.uuid).backupBegin(backup, None, flag)
    real.copy_disk(guest.uuid, "disk", "copy", lambda percent: True)
    assert real.volumes("copy") == {"copy": LARGE}


def test_a_copy_of_an_off_guest_whose_caller_died_is_replaced(real_bench: Bench, real: LibvirtHypervisor) -> None:
    guest = large(real_bench)
    first = threading.Thread(target=real.copy_disk, args=(guest.uuid, "disk", "copy", lambda percent: True))
    first.start()
    assert wait_until(lambda: "copy" in real._session.pool().listVolumes(), 10)
    other = LibvirtHypervisor(real.uri, real._session.pool_name, real._session.pool_path)
    other.copy_disk(guest.uuid, "disk", "copy", lambda percent: True)
    first.join()
    assert real.volumes("copy") == {"copy": LARGE}
    other.close()


def test_a_guest_that_goes_off_meanwhile_is_copied_all_the_same(real_bench: Bench, real: LibvirtHypervisor) -> None:
    guest = large(real_bench)
    real.start(guest.uuid)
    off = threading.Event()

    def tell(percent: int) -> bool:
        if not off.is_set() and real._is_backed_up(real._session.domain(guest.uuid), "copy"):
            real.destroy(guest.uuid)
            off.set()
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "TELL_SECONDS", 0.0)
        real.copy_disk(guest.uuid, "disk", "copy", tell)
    assert off.is_set()
    assert real.volumes("copy") == {"copy": LARGE}


def test_a_raw_disk_that_says_it_is_qcow2_is_not_copied(real_bench: Bench, real: LibvirtHypervisor) -> None:
    """qemu-img would follow the header that a guest wrote to another's file (CVE-2015-5163)."""
    real._create("crafted", MIB, "qcow2", "/etc/hostname")
    guest = real_bench.guest()
    raw = dataclasses.replace(guest, disks=(Disk("crafted", "vda", format="raw"),))
    real.define(raw)
    with pytest.raises(Failed, match="does not look like"):
        real.copy_disk(guest.uuid, "crafted", "copy", lambda percent: True)
    assert real.volumes("copy") == {}
