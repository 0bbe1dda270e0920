"""Flat copies of a guest's disk: by QEMU while the guest is on, by libvirt's storage while it is off.

Both know the format of every file from what was written down, never from what it looks like: QEMU has
it from the guest's definition, and the storage code from a volume whose header only the host writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.interface import Busy, Disk, Failed, Gone
from compute.hypervisor.libvirt import xml, xml_backup, xml_storage
from compute.hypervisor.libvirt.errors import error_class_of_text, has_code, plain_errors
from compute.hypervisor.libvirt.storage import Storage

POLL_SECONDS = 0.05
TELL_SECONDS = 0.5
ABORT_SECONDS = 30.0

Tell = Callable[[int], bool]


class _Off(Exception):
    """The guest went off while its disk was being copied."""


class Copies(Storage):
    """The verb ``copy_disk`` of the driver."""

    @plain_errors()
    def copy_disk(self, uuid: UUID, volume: str, target: str, on_progress: Tell) -> None:
        """See the interface. Raises Gone, NoSpace and Busy.

        The copy of a guest that is off cannot be broken off on the host: it is waited for, then removed.
        A raw disk that is off and looks like another format is refused: Failed.
        """
        domain = self._session.domain(uuid)
        tell = _Teller(on_progress)
        tell(0)
        self._clear(domain, target, tell)
        try:
            self._copy(domain, volume, target, tell)
            self._check_flat(target)
            tell.now(100)
        except BaseException:
            self._clear(domain, target, _Teller(lambda percent: True))
            raise

    # within ---------------------------------------------------------------------------------------
    def _copy(self, domain: Any, volume: str, target: str, tell: _Teller) -> None:
        disk = self._disk_of(domain, volume)
        try:
            if domain.isActive():
                return self._back_up(domain, disk.target, target, tell)
        except _Off:
            self._delete(target)
        self._clone(disk, target, tell)

    def _disk_of(self, domain: Any, volume: str) -> Disk:
        """The guest's disk on this volume. Raises Gone."""
        path = f"{self._session.pool_path}/{volume}"
        for disk in etree.fromstring(domain.XMLDesc()).iterfind("devices/disk"):
            source, target, driver = disk.find("source"), disk.find("target"), disk.find("driver")
            if source is not None and source.get("file") == path and target is not None and driver is not None:
                return Disk(volume, target.get("dev", ""), format=driver.get("type", ""))
        raise Gone(f"The guest has no disk {volume!r}.")

    def _back_up(self, domain: Any, disk: str, target: str, tell: _Teller) -> None:
        """QEMU writes what the disk holds at this moment, while the guest goes on. Raises _Off."""
        try:
            self._create(target, domain.blockInfo(disk)[0], "qcow2")
            backup = xml.to_string(xml_backup.push(disk, self._path(target)))
            domain.backupBegin(backup, None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
            while (stats := domain.jobStats()).get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE:
                tell(_percent(stats.get("disk_processed", 0), stats.get("disk_total", 0)))
                time.sleep(POLL_SECONDS)
            check_success(domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED))
        except libvirt.libvirtError as error:
            if has_code(error, libvirt.VIR_ERR_OPERATION_INVALID) and not domain.isActive():
                raise _Off from error
            raise

    def _clone(self, disk: Disk, target: str, tell: _Teller) -> None:
        """libvirt's storage code copies the volume with all that it stands on, with qemu-img."""
        self.disk_source(disk)  # raises if it stands on what is not ours
        source = self._session.pool().storageVolLookupByName(disk.volume)
        description = etree.fromstring(source.XMLDesc())
        if description.find(f"target/format[@type='{disk.format}']") is None:
            raise Failed(f"The volume {disk.volume!r} does not look like the {disk.format} that it is.")
        _, capacity, allocation = source.info()
        wanted = xml.to_string(xml_storage.volume(target, capacity, "qcow2"))
        with ThreadPoolExecutor(1) as pool:
            copy = pool.submit(self._session.pool().createXMLFrom, wanted, source, 0)
            self._follow(copy, target, allocation + self._size_below(description), tell)
            copy.result()

    def _follow(self, copy: Future[Any], target: str, total: int, tell: _Teller) -> None:
        """Tell how far it is, by how large the new file has grown."""
        while not wait([copy], POLL_SECONDS).done:
            tell(_percent(self._allocated(target), total))

    def _size_below(self, description: Any) -> int:
        """The bytes on the host of the file that an overlay stands on."""
        backing = description.findtext("backingStore/path")
        return 0 if backing is None else self._allocated(backing.rsplit("/", 1)[-1])

    def _allocated(self, volume: str) -> int:
        description = self._describe(volume)
        return 0 if description is None else int(description.findtext("allocation", "0"))

    def _path(self, volume: str) -> str:
        return f"{self._session.pool_path}/{volume}"

    def _check_flat(self, target: str) -> None:
        description = self._describe(target)
        if description is None or description.find("target/format[@type='qcow2']") is None:
            raise Failed("The copy is not a qcow2 volume.")
        if description.findtext("backingStore/path"):
            raise Failed("The copy stands on another file.")

    def _clear(self, domain: Any, target: str, tell: _Teller) -> None:
        """Nothing writes the target any more, and it is gone: an earlier try may still be under way.

        Raises Busy when it is not wanted any more, or when another backup of the guest runs.
        """
        deadline = time.monotonic() + ABORT_SECONDS
        while self._is_backed_up(domain, target):
            _abort(domain)
            if time.monotonic() > deadline:
                raise Busy("The copy does not end.")
            time.sleep(POLL_SECONDS)
        while not self._deleted(target):
            tell(0)
            time.sleep(POLL_SECONDS)

    def _is_backed_up(self, domain: Any, target: str) -> bool:
        """Whether QEMU writes into the target now."""
        try:
            backup = etree.fromstring(domain.backupGetXMLDesc())
        except libvirt.libvirtError as error:
            if has_code(error, *NO_BACKUP):
                return False
            raise
        return any(one.get("file") == self._path(target) for one in backup.iterfind("disks/disk/target"))

    def _deleted(self, target: str) -> bool:
        """Whether it is gone now. libvirt does not delete what it is still writing."""
        try:
            self._delete(target)
        except libvirt.libvirtError as error:
            if error_class_of_text(str(error)) is Busy:
                return False
            raise
        return True


# No such job; the guest is off; libvirt or QEMU is too old for any.
NO_BACKUP = (
    libvirt.VIR_ERR_NO_DOMAIN_BACKUP,
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT,
)


class _Teller:
    """Tells how far it is, not too often. Raises Busy when nobody wants it any more."""

    def __init__(self, on_progress: Tell) -> None:
        self._on_progress = on_progress
        self._next = 0.0

    def __call__(self, percent: int) -> None:
        if time.monotonic() >= self._next:
            self.now(percent)

    def now(self, percent: int) -> None:
        self._next = time.monotonic() + TELL_SECONDS
        if not self._on_progress(percent):
            raise Busy("The copy was given up.")


def _percent(done: int, total: int) -> int:
    return min(99, done * 100 // total) if total else 0


def _abort(domain: Any) -> None:
    try:
        domain.abortJob()
    except libvirt.libvirtError as error:
        if not has_code(error, libvirt.VIR_ERR_OPERATION_INVALID):  # it has ended, or ends already
            raise


def check_success(completed: dict[str, Any]) -> None:
    """Raise what ended the job, by libvirt's statistics of the last one."""
    if not completed.get("success"):
        text = completed.get("errmsg") or "QEMU could not copy the disk."
        raise error_class_of_text(text)(text)
