"""What a running guest becomes on another host, in libvirt's XML: the same machine, with that host's places."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

from lxml import etree

from compute.hypervisor.interface import Failed, Passenger

Element = etree._Element


def passenger(description: Element, hypervisor_version: int) -> Passenger:
    """What the other host must be like, by the guest's migratable description."""
    kind, cpu = description.find("os/type"), description.find("cpu")
    return Passenger(
        domain_type=description.get("type", ""),
        architecture="" if kind is None else kind.get("arch", ""),
        machine="" if kind is None else kind.get("machine", ""),
        emulator=description.findtext("devices/emulator", ""),
        hypervisor_version=hypervisor_version,
        cpu="" if cpu is None else etree.tostring(cpu, encoding="unicode"),
    )


def moved(running: Element, there: Element) -> Element:
    """The running guest's migratable description, with all that is the other host's from its definition there.

    The devices and their places in the machine stay as they are, also those that were plugged in. Raises Failed
    for a disk that the definition does not have.
    """
    element = deepcopy(running)
    _move_disks(element, there)
    console_log = _child(there, "devices/serial/log").get("file", "")
    for path in ("devices/serial/log", "devices/console/log"):
        for log in element.iterfind(path):
            log.set("file", console_log)
    for graphics, wanted in zip(element.iterfind("devices/graphics"), there.iterfind("devices/graphics"), strict=True):
        _listen(graphics, wanted.get("listen", ""))
    return element


def targets(there: Element, paths: set[str]) -> Iterator[str]:
    """The names of the disks ("vda") whose files are these."""
    for disk in there.iterfind("devices/disk"):
        if _child(disk, "source").get("file") in paths:
            yield _name(disk)


def _move_disks(element: Element, there: Element) -> None:
    wanted = {_name(disk): disk for disk in there.iterfind("devices/disk")}
    for disk in element.iterfind("devices/disk"):
        if _name(disk) not in wanted:
            raise Failed(f"The guest has a disk {_name(disk)} that its definition on the other host has not.")
        place = list(disk).index(_child(disk, "source"))
        for tag in ("source", "backingStore"):
            for old in disk.findall(tag):
                disk.remove(old)
        disk[place:place] = [deepcopy(_child(wanted[_name(disk)], tag)) for tag in ("source", "backingStore")]


def _name(disk: Element) -> str:
    return _child(disk, "target").get("dev", "")


def _child(element: Element, path: str) -> Element:
    """Raises Failed for a description that lacks what all of ours have."""
    found = element.find(path)
    if found is None:
        raise Failed(f"The guest's description has no {path}.")
    return found


def _listen(graphics: Element, address: str) -> None:
    graphics.set("listen", address)
    for listen in graphics.iterfind("listen[@type='address']"):
        listen.set("address", address)
