"""Pools and volumes in libvirt's XML (https://libvirt.org/formatstorage.html)."""

from __future__ import annotations

from lxml import etree
from lxml.builder import E

Element = etree._Element


def pool(name: str, path: str, mode: str = "0711") -> Element:
    """A folder. QEMU's own user must pass through it to its disks, and may list nothing."""
    return E.pool(E.name(name), E.target(E.path(path), E.permissions(E.mode(mode))), type="dir")


def volume(name: str, size_bytes: int, format: str = "raw", backing: str | None = None) -> Element:
    """A sparse file of this format. ``backing`` is the path of the raw file below an overlay."""
    element = E.volume(
        E.name(name),
        E.capacity(str(size_bytes), unit="bytes"),
        E.allocation("0"),
        E.target(E.format(type=format), E.permissions(E.mode("0600"))),
    )
    if backing is not None:
        element.append(E.backingStore(E.path(backing), E.format(type="raw")))
    return element
