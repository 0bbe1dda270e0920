"""Guests that go to another host while they run: libvirt's managed migration, held together by this process.

The two hosts need not trust each other: this process asks both, over connections that nothing else uses,
and only QEMU's data goes from one to the other. When this process dies, libvirt on the target ends what was
arriving, and so on the source the guest runs on; only in the moment of the change itself it may be left
standing still there, and ``stay`` and ``remove`` put right which of the two hosts has it.
"""

from __future__ import annotations

import functools
import ipaddress
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.interface import (
    Busy,
    Crossing,
    Guest,
    Hypervisor,
    Order,
    Passenger,
    Transfer,
    Unsupported,
    Whereabouts,
)
from compute.hypervisor.libvirt import xml, xml_migration
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.session import Session

POLL_SECONDS = 0.2
END_SECONDS = 60.0  # in which a crossing that was aborted ends
MIGRATABLE = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE

ALWAYS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
)
SENT = (
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
)
OFF = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)
UNLIMITED_MB = 1 << 20  # a second; libvirt multiplies it, and 0 is none at all for it
NO_POST_COPY = "postcopy is not supported"  # by the kernel of one of the hosts
CPU_FITS = (libvirt.VIR_CPU_COMPARE_IDENTICAL, libvirt.VIR_CPU_COMPARE_SUPERSET)


class Migration:
    """The verbs about guests that cross to another host."""

    _session: Session
    _managed: dict[UUID, bool]
    definition: Callable[[Guest], etree._Element]
    delete_console_log: Callable[[UUID], None]

    @plain_errors()
    def passenger(self, uuid: UUID) -> Passenger:
        """See the interface."""
        running = _running(self._session.domain(uuid))
        return xml_migration.passenger(running, self._session.connection().getVersion())

    @plain_errors()
    def objections(self, passenger: Passenger) -> tuple[str, ...]:
        """See the interface. Under KVM, CPUs are compared by libvirt; an emulated one is the same everywhere."""
        connection = self._session.connection()
        return tuple(_objections(connection, passenger))

    @plain_errors()
    def migrate(
        self, uuid: UUID, target: Hypervisor, crossing: Crossing, on_progress: Callable[[Transfer], Order]
    ) -> None:
        """See the interface. Raises Unsupported for a target that is no libvirt host."""
        if not isinstance(target, Migration):
            raise Unsupported("The other host is of another kind.")
        domain = self._session.domain(uuid)
        parameters = target._arrival(crossing, _running(domain))
        _forget_snapshots(domain)
        with self._session.own_connection() as here, target._session.own_connection() as there:
            leaving = here.lookupByUUIDString(str(uuid))
            try:
                _Voyage(leaving, there, crossing, parameters).run(domain, on_progress)
            except libvirt.libvirtError as error:
                if not (crossing.post_copy and NO_POST_COPY in error.get_error_message().lower()):
                    raise
                _Voyage(leaving, there, replace(crossing, post_copy=False), parameters).run(domain, on_progress)
        self._managed.pop(uuid, None)
        target._managed[uuid] = True
        self.delete_console_log(uuid)

    @plain_errors()
    def whereabouts(self, uuid: UUID) -> Whereabouts:
        """See the interface."""
        with _unless_absent():
            domain = self._session.connection().lookupByUUIDString(str(uuid))
            return _whereabouts(domain)
        return Whereabouts.ABSENT

    @plain_errors()
    def end_migration(self, uuid: UUID) -> None:
        """See the interface. Raises Busy when it does not end."""
        deadline = time.monotonic() + END_SECONDS
        with _unless_absent():
            domain = self._session.connection().lookupByUUIDString(str(uuid))
            while _whereabouts(domain) is Whereabouts.LEAVING:
                _abort(domain)
                if time.monotonic() > deadline:
                    raise Busy("The guest's crossing to another host does not end.")
                time.sleep(POLL_SECONDS)

    @plain_errors()
    def stay(self, uuid: UUID, paused: bool = False) -> None:
        """See the interface."""
        domain = self._session.domain(uuid)
        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED and not paused:
            domain.resume()

    @plain_errors()
    def settle_paused(self, uuid: UUID) -> None:
        """See the interface. QEMU activates the disks of one that has arrived when it runs, and at no other time.

        Whoever writes to inactive ones, or sends them on, ends QEMU by an assertion (`bdrv_inactivate_recurse`).
        """
        domain = self._session.domain(uuid)
        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        domain.suspend()

    # within ---------------------------------------------------------------------------------------
    def _arrival(self, crossing: Crossing, running: etree._Element) -> dict[str, Any]:
        """The parameters of a crossing to this host."""
        there = self.definition(crossing.guest)
        paths = {f"{self._session.pool_path}/{volume}" for volume in crossing.copied}
        uri = f"tcp://{bracketed(crossing.address)}"
        parameters: dict[str, Any] = {
            libvirt.VIR_MIGRATE_PARAM_URI: uri,
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: xml.to_string(xml_migration.moved(running, there)),
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: xml.to_string(there),
            libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: crossing.bandwidth_mb,
        }
        if is_address(crossing.address):  # else QEMU would listen on every address that the host has
            parameters[libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS] = crossing.address
        if crossing.copied:
            parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = uri
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(xml_migration.targets(there, paths))
        return parameters


class _Voyage:
    """One call of libvirt's that brings a guest over, in a thread of its own; and what is seen of it meanwhile."""

    def __init__(self, leaving: Any, there: Any, crossing: Crossing, parameters: dict[str, Any]) -> None:
        self._crossing = crossing
        self._call = functools.partial(leaving.migrate3, there, parameters, flags_for(crossing))
        self._thread = threading.Thread(target=self._run, name="migration", daemon=True)
        self._error: BaseException | None = None

    def run(self, domain: Any, on_progress: Callable[[Transfer], Order]) -> None:
        """Wait for its end, seen through another handle of the domain; do what is wanted. Raises as ``migrate``."""
        self._thread.start()
        forced = aborted = set_up = False
        while self._thread.is_alive():
            order = on_progress(_transfer(domain))
            set_up = set_up or _set_downtime(domain, self._crossing.downtime_ms)
            if order is Order.ABORT:
                aborted = _abort(domain) or aborted
            elif order is Order.FORCE and not forced:
                forced = _force(domain, self._crossing.post_copy)
            self._thread.join(POLL_SECONDS)
        if isinstance(self._error, libvirt.libvirtError) and (
            aborted or has_code(self._error, libvirt.VIR_ERR_OPERATION_ABORTED)
        ):
            raise Busy("The crossing was aborted.") from self._error
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self._error = error


def _running(domain: Any) -> etree._Element:
    """What a guest that is on is, for another host. Raises Busy."""
    if not domain.isActive():
        raise Busy("The guest is not running.")
    return etree.fromstring(domain.XMLDesc(MIGRATABLE))


def flags_for(crossing: Crossing) -> int:
    """libvirt's flags.

    Storage that hosts share was seen to be the same folder, and the cache of our disks never outlives a write,
    so what libvirt takes for unsafe there, because it knows the file system by its name alone, is not.
    """
    flags: int = ALWAYS | (libvirt.VIR_MIGRATE_NON_SHARED_INC if crossing.copied else libvirt.VIR_MIGRATE_UNSAFE)
    for wanted, flag in (
        (crossing.auto_converge, libvirt.VIR_MIGRATE_AUTO_CONVERGE),
        (crossing.post_copy, libvirt.VIR_MIGRATE_POSTCOPY),
        (crossing.encrypted, libvirt.VIR_MIGRATE_TLS),
    ):
        flags |= flag if wanted else 0
    return flags


def is_address(text: str) -> bool:
    """Whether it is an address, not a name."""
    with suppress(ValueError):
        return bool(ipaddress.ip_address(text))
    return False


def bracketed(address: str) -> str:
    """As a URI has it."""
    return f"[{address}]" if ":" in address else address


def _objections(connection: Any, passenger: Passenger) -> Iterator[str]:
    version = connection.getVersion()
    if version < passenger.hypervisor_version:
        yield f"Its QEMU ({_plain(version)}) is older than the guest's ({_plain(passenger.hypervisor_version)})."
    machine = (passenger.emulator, passenger.architecture, passenger.machine, passenger.domain_type)
    try:
        connection.getDomainCapabilities(*machine)
    except libvirt.libvirtError as error:
        why = error.get_error_message()
        yield f"It cannot run such a machine ({passenger.machine}, {passenger.domain_type}): {why}"
        return
    if passenger.domain_type == "kvm" and passenger.cpu:
        yield from _cpu_objections(connection, machine, passenger.cpu)


def _cpu_objections(connection: Any, machine: tuple[str, ...], cpu: str) -> Iterator[str]:
    flags = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
    try:
        if connection.compareHypervisorCPU(*machine, cpu, flags) in CPU_FITS:
            return
        why = ""
    except libvirt.libvirtError as error:
        if not has_code(error, libvirt.VIR_ERR_CPU_INCOMPATIBLE):
            raise
        why = error.get_error_message()
    yield f"Its CPU lacks what the guest's has: {why or 'they are incompatible'}"


def _plain(version: int) -> str:
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def _whereabouts(domain: Any) -> Whereabouts:
    """What arrives is not in libvirt's books before it is whole; all others of ours are."""
    state, reason = domain.state()
    if state in OFF:
        return Whereabouts.OFF
    if not domain.isPersistent():
        return Whereabouts.ARRIVING
    if _operation(domain) == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
        return Whereabouts.LEAVING
    if state != libvirt.VIR_DOMAIN_PAUSED:
        return Whereabouts.RUNNING
    return Whereabouts.SENT if reason in SENT else Whereabouts.PAUSED


def _operation(domain: Any) -> int:
    """What kind of job the guest is busy with; 0: with none."""
    try:
        stats: dict[str, Any] = domain.jobStats()
    except libvirt.libvirtError as error:
        if has_code(error, libvirt.VIR_ERR_OPERATION_UNSUPPORTED):  # the target has no figures
            return int(libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
        raise
    if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
        return 0
    return int(stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION, 0))


def _transfer(domain: Any) -> Transfer:
    """How far it is; nothing yet, or no more, where libvirt does not say."""
    try:
        stats = domain.jobStats()
    except libvirt.libvirtError:  # the guest has left, or the host is lost: the other thread knows
        return Transfer()
    memory = [stats.get(name, 0) for name in ("memory_total", "memory_processed", "memory_remaining")]
    disk = [stats.get(name, 0) for name in ("disk_total", "disk_processed", "disk_remaining")]
    if disk[0] and not memory[0]:  # the disks come first; that the memory is to come is known
        memory[0] = memory[2] = domain.maxMemory() * 1024
    return Transfer(*map(int, (*memory, *disk)))


def _set_downtime(domain: Any, downtime_ms: int) -> bool:
    """Whether QEMU took it; it can be told when the crossing has begun."""
    with suppress(libvirt.libvirtError):
        domain.migrateSetMaxDowntime(downtime_ms)
        return True
    return False


def _abort(domain: Any) -> bool:
    """Whether something was there to be aborted."""
    with suppress(libvirt.libvirtError):  # it has not begun, or ends already, or can no more
        domain.abortJob()
        return True
    return False


def _force(domain: Any, post_copy: bool) -> bool:
    """Whether it was done: the guest runs on over there before its memory is there, or stands still until it is.

    What is left of it then goes as fast as it can.
    """
    with suppress(libvirt.libvirtError):
        domain.migrateSetMaxSpeed(UNLIMITED_MB)
        if post_copy:
            domain.migrateStartPostCopy()
        else:
            domain.suspend()
        return True
    return False


def _forget_snapshots(domain: Any) -> None:
    """libvirt's notes of them, for it lets no guest go of which it has some; they are in the disks."""
    for snapshot in domain.listAllSnapshots():
        snapshot.delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)


@contextmanager
def _unless_absent() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        if not has_code(error, libvirt.VIR_ERR_NO_DOMAIN):
            raise
