"""What only a real host can show: a guest that boots, gets its address, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import multiprocessing
import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from compute.hypervisor.interface import (
    Disk,
    Failed,
    Guest,
    GuestEvent,
    GuestEventKind,
    NetworkSpec,
    Nic,
    PowerState,
    Reservation,
    SerialStream,
    Unsupported,
    mac_for,
)
from compute.hypervisor.libvirt import LibvirtHypervisor, networks, storage
from tests.hypervisor.conftest import Bench, at

pytestmark = pytest.mark.real

MIB = 1024**2
PROMPT = b"login:"


def wait_until(what: Callable[[], object], seconds: float = 90.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False


def pieces(path: Path) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        with path.open("rb") as file:
            while block := file.read(MIB):
                yield block

    return read


@dataclasses.dataclass
class Booted:
    """A tiny guest on a network of its own."""

    guest: Guest
    network: NetworkSpec
    address: str


def boot(bench: Bench, tiny_raw: Path, mac: str | None = None) -> Booted:
    spec = bench.network(dns_servers=("9.9.9.9",), mtu=1450)
    address = at(spec, 5)
    bench.driver.ensure_network(spec)
    bench.driver.ensure_base("base-tiny", tiny_raw.stat().st_size, pieces(tiny_raw))
    mac = mac or mac_for(spec.uuid, spec.cidr, address)
    bench.driver.reserve(spec.uuid, Reservation(mac, address, "tiny"))
    guest = bench.guest(memory_mb=256, disks=(), nics=(Nic(mac, spec.uuid, address, mtu=1450),))
    volume = f"disk-{guest.uuid}"
    bench.driver.create_overlay(volume, "base-tiny", 100 * MIB)
    guest = dataclasses.replace(guest, title='<evil>&"', disks=(Disk(volume, "vda", boot_order=1),))
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    return Booted(guest, spec, address)


def test_a_guest_boots_answers_and_stops_cleanly(real_bench: Bench, tiny_raw: Path) -> None:
    driver, events = real_bench.driver, list[GuestEvent]()
    driver.watch(events.append, lambda reason: None)
    booted = boot(real_bench, tiny_raw)
    guest = booted.guest.uuid

    with Talk(driver.serial(guest)) as talk:
        talk.expect(PROMPT)
        talk.say(b"root", b"assword:")
        talk.say(b"nacelle", b"# ")
        talk.say(b"echo $((6*7))", b"42")

    assert wait_until(lambda: answers(booted.address)), "the guest has its reserved address"
    usage = driver.guest_usage()[guest]
    assert usage.cpu_seconds > 0
    assert usage.memory_used_mb > 0
    assert usage.disk_read_bytes > MIB
    assert usage.network_receive_bytes > 0

    log = driver.console_log(guest)
    assert PROMPT in log
    assert driver.console_log(guest, 10) == driver.console_log(guest)[-10:]

    screen = driver.vnc(guest)
    with socket.create_connection((screen.host, screen.port), timeout=5) as client:
        assert client.recv(12).startswith(b"RFB 003.")

    before = time.monotonic()
    driver.stop(guest, grace=30)
    assert time.monotonic() - before < 15, "it heard the button"
    assert driver.guests()[guest].power_state == PowerState.SHUTDOWN
    assert wait_until(lambda: (GuestEventKind.STOPPED, "shutdown") in [(one.kind, one.detail) for one in events])


class Talk:
    """A conversation over a serial port: one thread reads while this one waits and writes."""

    def __init__(self, port: SerialStream) -> None:
        self.port = port
        self.heard = b""
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.port.close()

    def _listen(self) -> None:
        while data := self.port.receive(4096):
            self.heard += data

    def expect(self, words: bytes) -> None:
        assert wait_until(lambda: words in self.heard), self.heard[-2000:]

    def say(self, line: bytes, answer: bytes) -> None:
        self.heard = b""
        self.port.send(line + b"\n")
        self.expect(answer)


def answers(address: str) -> bool:
    with socket.socket() as client:
        client.settimeout(0.5)
        try:
            client.connect((address, 22))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True


def test_the_button_is_pressed_again_for_a_guest_that_boots(real_bench: Bench, tiny_raw: Path) -> None:
    booted = boot(real_bench, tiny_raw)
    before = time.monotonic()
    real_bench.driver.stop(booted.guest.uuid, grace=40)
    assert time.monotonic() - before < 30
    assert real_bench.driver.guests()[booted.guest.uuid].power_state == PowerState.SHUTDOWN


def test_a_reboot_starts_another_qemu(real_bench: Bench, tiny_raw: Path) -> None:
    booted = boot(real_bench, tiny_raw)
    guest = booted.guest.uuid
    assert wait_until(lambda: PROMPT in real_bench.driver.console_log(guest))
    real_bench.driver.reboot(guest, grace=30)
    assert real_bench.driver.guests()[guest].power_state == PowerState.RUNNING
    assert real_bench.driver.guest_usage()[guest].cpu_seconds < 3


def test_nothing_is_left_of_a_guest(real_bench: Bench, real: LibvirtHypervisor) -> None:
    guest = real_bench.guest()
    real.define(guest)
    real.start(guest.uuid)
    connection = real._session.connection()
    connection.lookupByUUIDString(str(guest.uuid)).managedSave()
    folder = Path(real._session.console_path)
    (folder / f"{guest.uuid}.log.0").write_bytes(b"what virtlogd put aside")
    assert sorted(path.name for path in folder.iterdir()) == [f"{guest.uuid}.log", f"{guest.uuid}.log.0"]
    real.remove(guest.uuid)
    assert list(folder.iterdir()) == []
    assert not Path(f"/var/lib/libvirt/qemu/save/{guest.name}.save").exists()
    assert not Path(f"/etc/libvirt/qemu/{guest.name}.xml").exists()


def test_a_console_log_goes_back_beyond_a_rotation(real_bench: Bench, real: LibvirtHypervisor) -> None:
    guest = real_bench.guest()
    real.define(guest)
    folder = Path(real._session.console_path)
    (folder / f"{guest.uuid}.log").write_bytes(b"new")
    (folder / f"{guest.uuid}.log.0").write_bytes(b"older")
    real._session.console_pool().refresh()
    assert real.console_log(guest.uuid) == b"oldernew"
    assert real.console_log(guest.uuid, 5) == b"ernew"


def test_the_hosts_uuid_is_nobodys_business(real_bench: Bench, real: LibvirtHypervisor) -> None:
    guest = real_bench.guest()
    real.define(guest)
    text = real._session.domain(guest.uuid).XMLDesc()
    assert real.facts().uuid not in text
    assert etree.fromstring(text).findtext("sysinfo/system/entry[@name='serial']") == str(guest.uuid)


def test_a_foreign_guest_is_seen_but_not_managed(real_bench: Bench, real: LibvirtHypervisor) -> None:
    identity = uuid.uuid4()
    real_bench.guests.append(identity)
    real._session.connection().defineXML(
        f"<domain type='qemu'><name>nacelle-test-{identity.hex[:8]}</name><uuid>{identity}</uuid>"
        "<memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>"
    )
    assert not real.guests()[identity].managed


# storage ------------------------------------------------------------------------------------------
def test_two_drivers_bring_the_same_base(real_bench: Bench, real: LibvirtHypervisor) -> None:
    """As two processes would: neither knows the other's lock, one of them wins."""
    content = os.urandom(3 * MIB)
    here = "/run/libvirt/libvirt-sock"  # by three names, so that each has a lock of its own
    uris = [real.uri, f"qemu+unix:///system?socket={here}", f"qemu+unix:///system?socket=/run/../{here}"]
    drivers = [LibvirtHypervisor(uri, *place(real)) for uri in uris]
    gate = threading.Barrier(len(drivers))

    def slowly() -> Iterator[bytes]:
        gate.wait(10)
        for start in range(0, len(content), MIB):
            time.sleep(0.05)
            yield content[start : start + MIB]

    threads = [threading.Thread(target=one.ensure_base, args=("base", len(content), slowly)) for one in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert b"".join(real.download("base")) == content
    assert len(contents_of(real)) == 1
    for driver in drivers:
        driver.close()


def place(real: LibvirtHypervisor) -> tuple[str, str]:
    return real._session.pool_name, real._session.pool_path


def contents_of(real: LibvirtHypervisor) -> list[str]:
    return [name for name in real._session.pool().listVolumes() if storage.DATA.fullmatch(name)]


def test_what_a_dead_uploader_left_is_no_base_and_goes(real_bench: Bench, real: LibvirtHypervisor) -> None:
    real._create("base.data-00000000", MIB)
    real._create("base.data-11111111", MIB)
    os.utime(Path(real._session.pool_path) / "base.data-00000000", (1, 1))
    assert not real.has_base("base")
    assert real.volumes() == {}
    assert real.ensure_base("base", 5, lambda: iter([b"whole"]))
    assert "base.data-00000000" not in contents_of(real), "long abandoned"
    assert "base.data-11111111" in contents_of(real), "perhaps somebody is still at it"
    real.delete_volume("base")
    assert "base.data-11111111" in contents_of(real)
    real.delete_volume("base")
    assert contents_of(real) == []


def test_a_base_is_sparse_on_the_host(real_bench: Bench, real: LibvirtHypervisor) -> None:
    size = 64 * MIB
    real.ensure_base("base", size, lambda: iter([b"x" * MIB, bytes(62 * MIB), b"y" * MIB]))
    [content] = contents_of(real)
    status = (Path(real._session.pool_path) / content).stat()
    assert status.st_size == size
    assert status.st_blocks * 512 < 4 * MIB


def test_a_disk_on_a_file_of_somebody_else_is_refused(real_bench: Bench, real: LibvirtHypervisor) -> None:
    real._create("crafted", MIB, "qcow2", "/etc/hostname")
    with pytest.raises(Failed, match="no base"):
        real.define(real_bench.guest(disks=(Disk("crafted", "vda"),)))


def test_a_raw_disk_that_says_it_is_qcow2_stays_raw(real_bench: Bench, real: LibvirtHypervisor) -> None:
    """A guest writes a header with another's file below it into its own raw disk (CVE-2015-5163)."""
    real._create("crafted", MIB, "qcow2", "/etc/hostname")
    header = b"".join(real.download("crafted"))
    real.upload("raw", io.BytesIO(header), len(header))
    real._session.pool().refresh()
    guest = real_bench.guest(disks=(Disk("raw", "vda", format="raw"),))
    real.define(guest)
    real.start(guest.uuid)
    live = etree.fromstring(real._session.domain(guest.uuid).XMLDesc())
    assert live.find("devices/disk/driver[@type='raw']") is not None
    assert b"/etc/hostname" not in b"".join(etree.tostring(one) for one in live.iterfind("devices/disk"))


# networks -----------------------------------------------------------------------------------------
def hosts_of(real: LibvirtHypervisor, spec: NetworkSpec) -> dict[str, str]:
    handle = real._session.connection().networkLookupByUUIDString(str(spec.uuid))
    found = etree.fromstring(handle.XMLDesc()).iterfind("ip/dhcp/host")
    return {host.get("ip", ""): host.get("mac", "") for host in found}


def test_each_address_is_reserved_from_the_start(real_bench: Bench, real: LibvirtHypervisor) -> None:
    spec = real_bench.network()
    real.ensure_network(spec)
    hosts = hosts_of(real, spec)
    assert len(hosts) == 4093, "a /20 without its own two addresses and the gateway"
    assert hosts[at(spec, 5)] == mac_for(spec.uuid, spec.cidr, at(spec, 5))
    text = Path(f"/var/lib/libvirt/dnsmasq/nacelle-{spec.uuid}.conf").read_text()
    assert f"dhcp-range={spec.gateway},static" in text, "nobody else is answered"


def test_an_address_goes_to_a_special_mac_and_back(real_bench: Bench, real: LibvirtHypervisor) -> None:
    spec = real_bench.network()
    real.ensure_network(spec)
    address, special = at(spec, 5), "52:54:00:aa:bb:cc"
    real.reserve(spec.uuid, Reservation(special, address, "five"))
    real.reserve(spec.uuid, Reservation(special, address, "five"))
    assert hosts_of(real, spec)[address] == special
    real.reserve(spec.uuid, Reservation(special, at(spec, 6), "five"))
    assert hosts_of(real, spec)[at(spec, 6)] == special
    real.release(spec.uuid, special)
    assert hosts_of(real, spec)[at(spec, 6)] == mac_for(spec.uuid, spec.cidr, at(spec, 6))


def test_a_mac_comes_home_to_its_own_address(real_bench: Bench, real: LibvirtHypervisor) -> None:
    spec = real_bench.network()
    real.ensure_network(spec)
    mac = mac_for(spec.uuid, spec.cidr, at(spec, 5))
    real.reserve(spec.uuid, Reservation(mac, at(spec, 9)))
    assert at(spec, 5) not in hosts_of(real, spec)
    real.release(spec.uuid, mac)
    hosts = hosts_of(real, spec)
    assert hosts[at(spec, 5)] == mac
    assert hosts[at(spec, 9)] == mac_for(spec.uuid, spec.cidr, at(spec, 9))


def test_a_network_that_changes_keeps_special_reservations(real_bench: Bench, real: LibvirtHypervisor) -> None:
    spec = real_bench.network()
    real.ensure_network(spec)
    real.reserve(spec.uuid, Reservation("52:54:00:aa:bb:cc", at(spec, 5)))
    real.ensure_network(dataclasses.replace(spec, dns_servers=("9.9.9.9",)))
    handle = real._session.connection().networkLookupByUUIDString(str(spec.uuid))
    later = etree.fromstring(handle.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
    assert later.find("dns/forwarder[@addr='9.9.9.9']") is not None
    assert later.find(f"ip/dhcp/host[@ip='{at(spec, 5)}'][@mac='52:54:00:aa:bb:cc']") is not None
    assert len(later.findall("ip/dhcp/host")) == 4093


def test_a_network_without_dhcp_reserves_nothing(real_bench: Bench, real: LibvirtHypervisor) -> None:
    spec = real_bench.network(dhcp=False)
    real.ensure_network(spec, [Reservation("52:54:00:aa:bb:cc", at(spec, 5))])
    assert hosts_of(real, spec) == {}


def test_a_reservation_costs_a_boot_nothing(real_bench: Bench, real: LibvirtHypervisor) -> None:
    spec = real_bench.network()
    real.ensure_network(spec)
    address = at(spec, 5)
    before = time.monotonic()
    real.reserve(spec.uuid, Reservation(mac_for(spec.uuid, spec.cidr, address), address))
    assert time.monotonic() - before < 0.001
    assert networks.RESERVED_AHEAD == 4096


# the connection -----------------------------------------------------------------------------------
@pytest.fixture
def wire(libvirtd: None, tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A way to libvirtd that can be cut: a URI, and the scissors."""
    path = Path(tempfile.mkdtemp()) / "wire"
    sockets: list[socket.socket] = []

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect("/run/libvirt/libvirt-sock")
                sockets.extend([near, far])
                threading.Thread(target=carry, args=(near, far), daemon=True).start()
                threading.Thread(target=carry, args=(far, near), daemon=True).start()

    def cut() -> None:
        while sockets:
            sockets.pop().shutdown(socket.SHUT_RDWR)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        threading.Thread(target=accept, args=(listening,), daemon=True).start()
        yield f"qemu+unix:///system?socket={path}", cut
    cut()
    shutil.rmtree(path.parent)


def test_a_lost_host_is_told_and_found_again(wire: tuple[str, Callable[[], None]], real: LibvirtHypervisor) -> None:
    uri, cut = wire
    driver = LibvirtHypervisor(uri, *place(real))
    lost: list[str] = []
    driver.watch(lambda event: None, lost.append)
    assert driver.volumes() == {}
    cut()
    assert wait_until(lambda: lost, 10), "the watcher is told"
    assert driver.volumes() == {}, "the next verb opens another connection"
    driver.watch(lambda event: None, lost.append)
    cut()
    assert wait_until(lambda: len(lost) == 2, 10), "once each time"
    driver.close()


# processes ----------------------------------------------------------------------------------------
def _in_a_child(driver: LibvirtHypervisor, answer: multiprocessing.SimpleQueue[str]) -> None:
    try:
        driver.guests()
        driver.watch(lambda event: None, lambda reason: None)
    except Unsupported as error:
        answer.put(str(error))


def test_a_forked_child_has_a_connection_of_its_own(real: LibvirtHypervisor) -> None:
    real.guests()
    context = multiprocessing.get_context("fork")
    answer: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
    child = context.Process(target=_in_a_child, args=(real, answer))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert "inherit" in answer.get(), "no events there, said clearly"
    real.guests()
