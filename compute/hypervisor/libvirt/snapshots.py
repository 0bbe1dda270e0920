"""In-place snapshots: QEMU's internal ones, inside the qcow2 files of the guest's disks.

With memory, and of guests that are off, libvirt makes them. It has no call for the disks alone of a
guest that is on, for which QEMU itself needs a few milliseconds: that is asked of QEMU directly, as one
transaction over all disks. libvirt's own notes of snapshots are written anew before each use, so that
nothing depends on what became of them.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import libvirt
import libvirt_qemu
from lxml import etree

from compute.hypervisor.interface import Busy, Failed, Gone
from compute.hypervisor.libvirt import xml, xml_snapshot
from compute.hypervisor.libvirt.errors import error_class_of_text, has_code, plain_errors
from compute.hypervisor.libvirt.interruptions import only_while_on
from compute.hypervisor.libvirt.session import Session

REDEFINE = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
DEFINITION = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


class Snapshots:
    """The verbs about in-place snapshots."""

    _session: Session

    @plain_errors()
    def create_snapshot(self, uuid: UUID, name: str, memory: bool) -> str:
        """See the interface. Raises Gone, Busy, NoSpace."""
        domain = self._session.domain(uuid)
        if memory:
            return _with_memory(domain, name)
        _delete(domain, name)
        if domain.isActive():
            _of_running_disks(domain, name)
        else:
            domain.snapshotCreateXML(xml.to_string(xml_snapshot.snapshot(name, memory=False)), 0)
        return ""

    @plain_errors()
    def revert_snapshot(self, uuid: UUID, name: str, memory: str = "") -> None:
        """See the interface. A guest whose devices are as they were then keeps its QEMU process."""
        domain = self._session.domain(uuid)
        if not memory and domain.isActive():
            raise Busy("The guest is not off.")
        if domain.hasManagedSaveImage():
            domain.managedSaveRemove()
        known = _known_with_memory(domain, name, memory) if memory else _known(domain, name)
        domain.revertToSnapshot(known, libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE if memory else 0)

    @plain_errors()
    def delete_snapshot(self, uuid: UUID, name: str) -> None:
        """See the interface."""
        try:
            _delete(self._session.domain(uuid), name)
        except Gone:
            return


def _with_memory(domain: Any, name: str) -> str:
    """QEMU replaces one of the same name."""
    _forget(domain, name)
    with only_while_on(domain):
        if not domain.isActive():
            raise Busy("The guest is not running.")
        made = domain.snapshotCreateXML(xml.to_string(xml_snapshot.snapshot(name, memory=True)), 0)
    description: str = made.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE)
    return description


def _of_running_disks(domain: Any, name: str) -> None:
    """One transaction in QEMU: all disks or none."""
    with only_while_on(domain):
        disks = [one["inserted"] for one in _ask(domain, "query-block") if one.get("inserted")]
        actions = [
            {"type": "blockdev-snapshot-internal-sync", "data": {"device": disk["node-name"], "name": name}}
            for disk in disks
            if not disk["ro"]
        ]
        _ask(domain, "transaction", actions=actions)


def _ask(domain: Any, command: str, **arguments: Any) -> Any:
    """QEMU's answer (its QMP reference: https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html)."""
    question = {"execute": command, **({"arguments": arguments} if arguments else {})}
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(question), 0))
    if "error" in answer:
        text = str(answer["error"].get("desc", ""))
        raise error_class_of_text(text)(text)
    return answer["return"]


def _delete(domain: Any, name: str) -> None:
    """Out of every disk that has it."""
    _known(domain, name).delete(0)


def _known(domain: Any, name: str) -> Any:
    """libvirt's handle of the disks' part of a snapshot."""
    _forget(domain, name)
    definition = etree.fromstring(domain.XMLDesc(DEFINITION))
    return domain.snapshotCreateXML(xml.to_string(xml_snapshot.of_disks(name, definition)), REDEFINE)


def _known_with_memory(domain: Any, name: str, definition: str) -> Any:
    """libvirt's handle of a snapshot with its memory."""
    _forget(domain, name)
    try:
        element = xml_snapshot.with_memory(name, definition)
    except (ValueError, etree.XMLSyntaxError) as error:
        raise Failed("What was noted of the snapshot's memory cannot be read.") from error
    return domain.snapshotCreateXML(xml.to_string(element), REDEFINE)


def _forget(domain: Any, name: str) -> None:
    """libvirt's notes, not the snapshot."""
    try:
        domain.snapshotLookupByName(name).delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
    except libvirt.libvirtError as error:
        if not has_code(error, libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT):
            raise
