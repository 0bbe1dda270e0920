"""A backup of one disk in libvirt's XML (https://libvirt.org/formatbackup.html)."""

from __future__ import annotations

from lxml import etree
from lxml.builder import E

Element = etree._Element


def push(disk: str, path: str) -> Element:
    """What the disk ``disk`` ("vda") holds now goes into the qcow2 file at ``path``; no other disk does."""
    target = E.disk(E.driver(type="qcow2"), E.target(file=path), name=disk, backup="yes", type="file")
    return E.domainbackup(E.disks(target), mode="push")
