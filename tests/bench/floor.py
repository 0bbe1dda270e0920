"""The floor: what libvirt alone needs for the same guest, asked through libvirt-python as directly as can be.

Each verb does what its operation comes down to on the host, and nothing else: no database, no checks, no
way back. What an operation needs beyond this is Nacelle's own.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import libvirt
from lxml import etree
from lxml.builder import E

from tests.e2e.nacelle import wait_until

PAUSE_SECONDS = 0.01
MIB = 1 << 20
GIB = 1 << 30


def element_of(definition: str, path: str) -> Any:
    """The one element of a guest's definition at this path."""
    found = etree.fromstring(definition).find(path)
    assert found is not None, path
    return found


def wait_for_login(definition: str) -> None:
    """Wait until the guest of this definition shows its login prompt. libvirt begins the log anew at each start."""
    log = Path(element_of(definition, "devices/serial/log").get("file"))
    wait_until("a login prompt", lambda: log.exists() and b"login:" in log.read_bytes())


class Floor:
    """One guest like those of Nacelle. The config drive is made beforehand; ``remove`` leaves nothing of it."""

    def __init__(self, connection: Any, model: str) -> None:
        self.connection = connection
        self.uuid = str(uuid.uuid4())
        self.definition = model.replace(str(etree.fromstring(model).findtext("uuid")), self.uuid)
        root = element_of(self.definition, "devices/disk[@device='disk']")
        self.path = str(root.find("source").get("file"))
        self.target = str(root.find("target").get("dev"))
        self.base = str(root.find("backingStore/source").get("file"))
        self.pool = connection.storagePoolLookupByTargetPath(self.path.rpartition("/")[0])
        self.capacity = max(self._volume(self.base).info()[1], GIB)
        self.pool.createXML(volume(f"{self.uuid}-config", MIB))

    # what takes a definition ----------------------------------------------------------------------
    def boot(self) -> None:
        """From nothing to a guest that runs."""
        self._overlay(self.path)
        self._define_and_start(self.definition)

    def delete(self) -> None:
        """To nothing again."""
        domain = self._domain()
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        self._volume(self.path).delete()

    # power ----------------------------------------------------------------------------------------
    def stop(self) -> None:
        """The power button, until the guest is off."""
        domain = self._domain()
        domain.shutdown()
        wait_until("the guest is off", lambda: not domain.isActive(), pause=PAUSE_SECONDS)

    def start(self) -> None:
        """Power on."""
        self._domain().create()

    def reboot_hard(self) -> None:
        """Cut and start."""
        self._domain().destroy()
        self._domain().create()

    def pause(self) -> None:
        """Hold the processors."""
        self._domain().suspend()

    def unpause(self) -> None:
        """Let them go on."""
        self._domain().resume()

    def suspend(self) -> None:
        """Memory to the disk."""
        self._domain().managedSave()

    def resume(self) -> None:
        """Memory from the disk."""
        self._domain().create()

    # disks ----------------------------------------------------------------------------------------
    def snapshot(self) -> None:
        """A flat copy of the running guest's disk, fetched into a file here."""
        self._fetch(self._backed_up())

    def rebuild(self) -> None:
        """Off, another disk over the same base, on."""
        self.stop()
        self._volume(self.path).delete()
        self._overlay(self.path)
        self._define_and_start(self.definition)

    def rescue(self) -> None:
        """Off, and on from another disk with its own as the second."""
        self._overlay(f"{self.path}-rescue")
        self.stop()
        self._define_and_start(self._with_second_disk())

    def unrescue(self) -> None:
        """Off at once, on from its own disk; the other goes."""
        self._domain().destroy()
        self._define_and_start(self.definition)
        self._volume(f"{self.path}-rescue").delete()

    def resize(self) -> None:
        """Off, a copy of the disk that grows, on from the copy."""
        self.stop()
        element = volume(self._name(f"{self.path}-new"), self.capacity, "qcow2", self.base)
        self.pool.createXMLFrom(element, self._volume(self.path), 0).resize(self.capacity + GIB)
        self._define_and_start(self.definition.replace(self.path, f"{self.path}-new"))

    def revert(self) -> None:
        """Off at once, on from the disk as it was; the copy goes."""
        self._domain().destroy()
        self._define_and_start(self.definition)
        self._volume(f"{self.path}-new").delete()

    def confirm(self) -> None:
        """The old disk goes; from here on the copy is the guest's."""
        self._volume(self.path).delete()
        self.definition = self.definition.replace(self.path, f"{self.path}-new")
        self.path = f"{self.path}-new"

    def shelve(self) -> None:
        """Off, the disk copied and fetched, all of it gone from the host."""
        self.stop()
        element = volume(f"{self.uuid}-copy", self.capacity, "qcow2")
        self._fetch(self.pool.createXMLFrom(element, self._volume(self.path), 0))
        self.delete()

    def unshelve(self) -> None:
        """The disk sent from a file here, and on."""
        size = self._file.stat().st_size
        target = self.pool.createXML(volume(self._name(self.path), size))
        stream = self.connection.newStream(0)
        target.upload(stream, 0, size, 0)
        with self._file.open("rb") as file:
            stream.sendAll(lambda _stream, count, _file: file.read(count), None)
        stream.finish()
        self._define_and_start(self._without_base())

    def wait_for_login(self) -> None:
        """Wait until the guest shows its login prompt."""
        wait_for_login(self.definition)

    def remove(self) -> None:
        """Nothing of it stays, wherever it was."""
        if any(domain.UUIDString() == self.uuid for domain in self.connection.listAllDomains()):
            domain = self._domain()
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        for one in self.pool.listAllVolumes():
            if one.name().startswith(self.uuid):
                one.delete()
        self._file.unlink(missing_ok=True)

    # within ---------------------------------------------------------------------------------------
    @property
    def _file(self) -> Path:
        return Path(tempfile.gettempdir()) / f"{self.uuid}.qcow2"

    def _domain(self) -> Any:
        return self.connection.lookupByUUIDString(self.uuid)

    def _name(self, path: str) -> str:
        return path.rpartition("/")[2]

    def _volume(self, path: str) -> Any:
        return self.pool.storageVolLookupByName(self._name(path))

    def _overlay(self, path: str) -> None:
        self.pool.createXML(volume(self._name(path), self.capacity, "qcow2", self.base))

    def _define_and_start(self, definition: str) -> None:
        self.connection.defineXML(definition).create()

    def _backed_up(self) -> Any:
        """QEMU writes what the disk holds into a new volume."""
        domain, target = self._domain(), f"{self.path}-copy"
        copy = self.pool.createXML(volume(self._name(target), self.capacity, "qcow2"))
        disk = E.disk(E.driver(type="qcow2"), E.target(file=target), name=self.target, backup="yes", type="file")
        element = etree.tostring(E.domainbackup(E.disks(disk), mode="push"), encoding="unicode")
        domain.backupBegin(element, None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)
        wait_until("the copy is made", lambda: not domain.jobStats().get("type", 0), pause=PAUSE_SECONDS)
        return copy

    def _fetch(self, copy: Any) -> None:
        """The volume's bytes into a file here; the volume goes."""
        self.pool.refresh()
        stream = self.connection.newStream(0)
        copy.download(stream, 0, 0, 0)
        with self._file.open("wb") as file:
            stream.recvAll(lambda _stream, data, _file: file.write(data), None)
            os.fsync(file.fileno())
        stream.finish()
        copy.delete(0)

    def _with_second_disk(self) -> str:
        """The definition with the rescue disk first and its own second."""
        tree = etree.fromstring(self.definition)
        root = tree.find("devices/disk[@device='disk']")
        assert root is not None
        own = etree.fromstring(etree.tostring(root))
        root.find("source").set("file", f"{self.path}-rescue")  # type: ignore[union-attr]  # every disk has one
        for unique in ("boot", "serial", "alias", "address"):
            for found in own.findall(unique):
                own.remove(found)
        own.find("target").set("dev", "vdy")  # type: ignore[union-attr]  # every disk has one
        root.addnext(own)
        return etree.tostring(tree, encoding="unicode")

    def _without_base(self) -> str:
        """The definition of a guest whose root disk stands on nothing."""
        tree = etree.fromstring(self.definition)
        backing = tree.find("devices/disk[@device='disk']/backingStore")
        assert backing is not None
        backing.clear()
        self.definition = etree.tostring(tree, encoding="unicode")
        return self.definition


def volume(name: str, size_bytes: int, format: str = "raw", backing: str | None = None) -> str:
    """A volume's definition: raw, qcow2, or an overlay."""
    element = E.volume(
        E.name(name),
        E.capacity(str(size_bytes), unit="bytes"),
        E.allocation("0"),
        E.target(E.format(type=format)),
    )
    if backing:
        element.append(E.backingStore(E.path(backing), E.format(type="raw")))
    return etree.tostring(element, encoding="unicode")


def timed(verb: Any) -> float:
    """Seconds that a call takes."""
    clock = time.perf_counter()
    verb()
    return time.perf_counter() - clock
