"""The driver interface: one compute host, reached by a URI.

Values in, values out. A driver never sees a row, a request or a policy, and this package imports
neither Django nor Nacelle's models. Every verb is idempotent: it says how the host shall be, looks
first whether it already is so, and a second call changes nothing. Sizes are in the unit that the
name says (``_mb`` is MiB, ``_gb`` is GiB, ``_bytes`` is bytes); times are seconds.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol
from uuid import UUID

from compute.hypervisor.about_hosts import HostFacts, HostUsage, NumaCell
from compute.hypervisor.adoption import Adoption
from compute.hypervisor.diagnostics import Diagnostics
from compute.hypervisor.faults import Busy, Failed, Gone, HypervisorError, NoSpace, Unreachable, Unsupported
from compute.hypervisor.growth import Growth
from compute.hypervisor.inspection import Inspection
from compute.hypervisor.migration import Crossing, Migration, Order, Passenger, Transfer, Whereabouts
from compute.hypervisor.moving import Moving, VolumeFile
from compute.hypervisor.snapshots import Snapshots

__all__ = [
    "BRIDGE_PREFIX", "MAC_PREFIX", "RESERVED_AHEAD", "Busy", "Crossing", "Disk", "Failed", "Gone", "Guest",
    "GuestEvent", "GuestEventKind", "GuestUsage", "HostFacts", "HostUsage", "Hypervisor", "HypervisorError",
    "NetworkSpec", "Nic", "NoSpace", "NumaCell", "Observed", "Order", "Passenger", "PowerState", "Reservation",
    "SerialStream", "Transfer", "Unreachable", "Unsupported", "VncEndpoint", "VolumeFile", "Whereabouts", "mac_for",
]  # fmt: skip


class PowerState(enum.IntEnum):
    """Nova's numbers for what the hypervisor says of a guest (OS-EXT-STS:power_state)."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7


@dataclass(frozen=True)
class GuestUsage:
    """One sample of a guest's load; counters since it started."""

    cpu_seconds: float
    memory_used_mb: int
    disk_read_bytes: int
    disk_write_bytes: int
    disk_read_requests: int
    disk_write_requests: int
    network_receive_bytes: int
    network_transmit_bytes: int


@dataclass(frozen=True)
class Observed:
    """A guest as the host sees it now."""

    uuid: UUID
    name: str
    power_state: PowerState
    managed: bool  # defined by Nacelle (it carries our metadata element)


# The first three octets of Neutron's MAC addresses (its option base_mac).
MAC_PREFIX = "fa:16:3e"
# What the names of networks' bridges on a host begin with.
BRIDGE_PREFIX = "nc-"
RESERVED_AHEAD = 4096  # a /20; libvirt defines and starts such a network in 0.15 s


def mac_for(network: UUID, cidr: str, address: str) -> str:
    """The MAC address that belongs to this address of this network, on every host.

    A port that has it costs a boot nothing: the hosts reserve every address of a network for its
    own MAC when the network is made. A reservation for any other MAC is a change to a running
    network, for which libvirt takes the network's firewall rules down and up again (0.4 s each,
    one at a time); and an address that goes to another MAC waits for the old lease to end.
    """
    index = int(ipaddress.ip_address(address)) - int(ipaddress.ip_network(cidr).network_address)
    low = (network.int + index) % (1 << 24)
    return MAC_PREFIX + "".join(f":{octet:02x}" for octet in low.to_bytes(3, "big"))


@dataclass(frozen=True)
class NetworkSpec:
    """A layer-2 network with NAT and DHCP on each host. DHCP answers only reserved addresses.

    With DHCP, the first RESERVED_AHEAD addresses of the network are reserved from the start, each for the
    MAC that ``mac_for`` gives it.
    """

    uuid: UUID
    cidr: str  # "10.77.0.0/20"
    gateway: str  # "10.77.0.1": the address of the host's bridge
    mtu: int = 1500
    dhcp: bool = True
    dns_servers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reservation:
    """One DHCP reservation: this MAC gets this address and name.

    The name is a wish: reservations that were made ahead keep theirs (host-10-77-0-5), as does one
    whose name another guest of the network has already.
    """

    mac: str
    address: str
    hostname: str = ""


@dataclass(frozen=True)
class Disk:
    """A disk of a guest. ``volume`` is a name in the driver's pool."""

    volume: str
    target: str  # "vda", "sda" (cdrom)
    format: str = "qcow2"  # always said, never probed (OSSA-2016-001 and its kin)
    bus: str = "virtio"  # "virtio", "sata", "scsi", "ide"
    device: str = "disk"  # "disk" or "cdrom"
    boot_order: int | None = None
    read_only: bool = False
    serial: str | None = None
    cache: str = "none"


@dataclass(frozen=True)
class Nic:
    """A network card of a guest, plugged into the libvirt network of ``network``."""

    mac: str
    network: UUID
    address: str | None = None
    model: str = "virtio"
    mtu: int | None = None


@dataclass(frozen=True)
class Guest:
    """A guest as it shall be defined. ``name`` is libvirt's name; ``title`` is the user's."""

    uuid: UUID
    name: str
    title: str
    vcpus: int
    memory_mb: int
    max_vcpus: int | None = None  # what it may grow to while it runs; None: not at all
    max_memory_mb: int | None = None
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    domain_type: str | None = None  # None: as HostFacts.domain_type says
    machine: str = "pc"  # QEMU machine type
    cpu_mode: str | None = None  # None: the best that the domain type allows
    console_listen: str = "127.0.0.1"  # where VNC listens on the host
    metadata: tuple[tuple[str, str], ...] = field(default=())  # written into our metadata element


@dataclass(frozen=True)
class VncEndpoint:
    """Where a guest's screen listens, as the host names it."""

    host: str
    port: int


class GuestEventKind(enum.StrEnum):
    """What happened to a guest, in words that do not depend on the hypervisor."""

    STARTED = "started"
    STOPPED = "stopped"
    PAUSED = "paused"
    RESUMED = "resumed"
    CRASHED = "crashed"
    SUSPENDED = "suspended"
    DEFINED = "defined"
    UNDEFINED = "undefined"


@dataclass(frozen=True)
class GuestEvent:
    """A life-cycle event. ``detail`` is the hypervisor's own word, for logs."""

    uuid: UUID
    kind: GuestEventKind
    detail: str = ""


class SerialStream(Protocol):
    """A two-way stream to a guest's serial port.

    One thread may wait in ``receive`` while another calls ``send``; ``close`` is for any thread.
    """

    def receive(self, size: int) -> bytes:
        """Wait for and return up to ``size`` bytes; b"" when the guest or the host ended it."""

    def send(self, data: bytes) -> None: ...

    def close(self) -> None:
        """End it, from any thread: a waiting ``receive`` returns b""."""


class Hypervisor(Adoption, Diagnostics, Growth, Inspection, Migration, Moving, Snapshots, Protocol):
    """One host. Raises only the six errors above."""

    uri: str

    # the host -----------------------------------------------------------------------------------
    def ping(self) -> None:
        """The host answers: a round trip that costs it next to nothing."""

    def prepare(self) -> tuple[str, ...]:
        """Create what guests need on the host (the storage pool, its folders), where missing.

        Returns what was missing, each in words.
        """

    def facts(self) -> HostFacts: ...

    def usage(self) -> HostUsage: ...

    def guests(self) -> dict[UUID, Observed]:
        """Every guest on the host, also those that are not Nacelle's (``managed`` tells)."""

    def guest(self, uuid: UUID) -> Observed | None: ...

    def guest_usage(self) -> dict[UUID, GuestUsage]:
        """Usage of each running guest, in one call to the host."""

    def watch(self, on_event: Callable[[GuestEvent], None], on_lost: Callable[[str], None]) -> None:
        """Call ``on_event`` for each life-cycle event, and ``on_lost`` once when the host is lost.

        Both are called from a thread of the driver and must be quick.
        """

    def close(self) -> None: ...

    # networks -----------------------------------------------------------------------------------
    def ensure_network(self, network: NetworkSpec, reservations: Iterable[Reservation] = ()) -> bool:
        """The network exists, is up, starts with the host and knows at least these reservations.

        Returns whether it had to be made.
        """

    def reserve(self, network: UUID, reservation: Reservation) -> None:
        """DHCP knows this reservation; one of the same MAC or address is replaced.

        Nothing to do, and no call to the host, for a MAC that ``mac_for`` gives to the address.
        """

    def release(self, network: UUID, mac: str) -> None:
        """DHCP has no reservation of this MAC any more, but the one that ``mac_for`` gives it.

        A lease that the guest holds cannot be taken back through libvirt; it ends by itself.
        """

    def reservations(self) -> set[tuple[UUID, str]]:
        """The network and MAC of each reservation; those that ``mac_for`` gives may be left out."""

    def remove_network(self, network: UUID) -> None: ...

    # storage ------------------------------------------------------------------------------------
    def volumes(self, prefix: str = "") -> dict[str, int]:
        """Volumes in the pool whose name begins with ``prefix``, with their capacity in bytes."""

    def has_base(self, volume: str) -> bool:
        """Whether the base volume is there and whole. Quick: a boot asks it each time."""

    def ensure_base(self, volume: str, size_bytes: int, open_raw: Callable[[], Iterator[bytes]]) -> bool:
        """The raw base volume exists and is whole. Returns whether it had to be transferred.

        ``open_raw`` yields the raw content in chunks (holes may be skipped by the driver). The
        content arrives under a temporary name first: a volume of this name is always complete.
        Two callers at once are safe: one of them transfers, or both do and one wins.
        """

    def create_overlay(self, volume: str, base: str, size_bytes: int) -> None:
        """A qcow2 volume of this virtual size whose backing file is the raw volume ``base``."""

    def create_volume(self, volume: str, size_bytes: int, format: str = "qcow2") -> None:
        """An empty volume."""

    def upload(self, volume: str, content: BinaryIO, size_bytes: int, format: str = "raw") -> None:
        """A volume with exactly this content; replaces one of the same name."""

    def download(self, volume: str, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """The volume's bytes as they lie on disk (length 0: to the end)."""

    def delete_volume(self, volume: str) -> None: ...

    # a guest's life -----------------------------------------------------------------------------
    def define(self, guest: Guest) -> None:
        """The persistent definition is this; takes effect at the next start.

        Memory that ``suspend`` saved is kept, and with it the devices that the guest had then.
        """

    def start(self, uuid: UUID) -> None:
        """On, from cold: memory that ``suspend`` saved is dropped. A guest that is on stays as it is."""

    def stop(self, uuid: UUID, grace: float, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """Off. Presses the power button and waits up to ``grace`` seconds, then cuts the power.

        ``should_go_on`` is asked several times a second; False ends the wait at once and cuts
        nothing: the guest is left as it is.
        """

    def reboot(self, uuid: UUID, grace: float, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """Restart cleanly: power button, wait up to ``grace`` seconds, start. As ``stop`` otherwise."""

    def destroy(self, uuid: UUID) -> None:
        """Cut the power, and drop the memory of a suspended guest. No error if it is off."""

    def remove(self, uuid: UUID) -> None:
        """Cut the power and forget the definition with all that belongs to it (managed save, NVRAM,
        snapshots' metadata, console log). Volumes stay. No error if it is not there."""

    # Of a guest that is not on, these raise Busy (but ``resume``, and ``suspend`` of a suspended one).
    def pause(self, uuid: UUID) -> None:
        """Its processors stand still; its memory stays on the host."""

    def unpause(self, uuid: UUID) -> None:
        """Its processors run again."""

    def suspend(self, uuid: UUID) -> None:
        """Its memory is written to the host's disk, and it is off: it is observed as SHUTDOWN, as in Nova."""

    def resume(self, uuid: UUID) -> None:
        """It runs on from where it was suspended; without saved memory it is started. A paused guest
        runs again."""

    def inject_nmi(self, uuid: UUID) -> None:
        """A non-maskable interrupt: guests set up for it write a crash dump."""

    def set_password(self, uuid: UUID, user: str, password: str) -> None:
        """Through the agent in the guest. Raises Unsupported when no agent answers."""

    # a guest's devices and disks ----------------------------------------------------------------
    # The cards of a suspended guest cannot change: Busy. Its saved memory knows them.
    def attach_nic(self, uuid: UUID, nic: Nic) -> None:
        """The guest has this card, now if it runs, and at its next starts."""

    def detach_nic(self, uuid: UUID, mac: str) -> None:
        """The guest has no card of this MAC any more. Waits until a running guest has let go of it.

        Raises Busy when the guest does not let go.
        """

    def resize_volume(self, volume: str, size_bytes: int) -> None:
        """The volume is at least this large. Never shrinks one. Raises Busy while a guest that is on has it."""

    def copy_volume(self, volume: str, target: str) -> None:
        """``target`` is a copy of the qcow2 volume: content, capacity, and the base that it stands on.

        No guest has ``volume`` open. A target left by an earlier try is replaced; one that the host is
        still writing for a caller that died is waited for.
        """

    def stored_bytes(self, volume: str) -> int:
        """How much of the host's storage the volume takes, without the base that it stands on."""

    def copy_disk(self, uuid: UUID, volume: str, target: str, on_progress: Callable[[int], bool]) -> None:
        """``target`` is a flat qcow2 volume with what the guest's disk ``volume`` holds at one moment.

        The guest may run (it goes on running), be paused, suspended or off. ``on_progress`` is called
        with percent, at least once a second; when it returns False the copy ends, ``target`` is
        removed and Busy is raised. A target left by an earlier try is replaced. Raises Gone when the
        guest has no such disk.
        """

    # consoles -----------------------------------------------------------------------------------
    def vnc(self, uuid: UUID) -> VncEndpoint: ...

    def serial(self, uuid: UUID) -> SerialStream:
        """Open the serial port; whoever had it open is cut off."""

    def console_log(self, uuid: UUID, max_bytes: int = 102_400) -> bytes:
        """The last ``max_bytes`` of what the guest wrote to its serial port; b"" if nothing yet."""

    def console_logs(self) -> set[UUID]:
        """The guests whose console log the host has; a guest that is not there any more may have left its own."""
