"""Snapshots in libvirt's XML (https://libvirt.org/formatsnapshot.html), inside the disks' own qcow2 files."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lxml import etree
from lxml.builder import E

Element = etree._Element


def snapshot(name: str, memory: bool) -> Element:
    """A new one of all disks that the guest may write to."""
    return E.domainsnapshot(E.name(name), E.memory(snapshot="internal" if memory else "no"))


def of_disks(name: str, domain: Element) -> Element:
    """One that is in the disks already, described to libvirt as one of a guest that was off."""
    return E.domainsnapshot(
        E.name(name),
        E.state("shutoff"),
        E.creationTime(str(int(time.time()))),
        E.memory(snapshot="no"),
        E.disks(*_disks(domain)),
        domain,
    )


def with_memory(name: str, definition: str) -> Element:
    """The same for one with memory: as libvirt described it when it was made, standing on no other."""
    element = etree.fromstring(definition)
    for parent in element.findall("parent"):
        element.remove(parent)
    found = element.find("name")
    if found is None or found.text != name:
        raise ValueError("The description is of another snapshot.")
    return element


def _disks(domain: Element) -> Iterator[Element]:
    for disk in domain.iterfind("devices/disk"):
        target = disk.find("target")
        kept = disk.get("device", "disk") == "disk" and disk.find("readonly") is None
        if target is not None:
            yield E.disk(name=target.get("dev", ""), snapshot="internal" if kept else "no")
