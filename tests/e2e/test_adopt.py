"""A guest that somebody has defined with libvirt alone becomes an instance, on real QEMU."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.nacelle import IMAGES, tiny_image, wait_until
from tests.e2e.serial_port import SerialPort

pytestmark = pytest.mark.real

# As somebody may have written it: another machine, names and devices than Nacelle gives.
DOMAIN = """
<domain type='qemu'>
  <name>{name}</name><uuid>{uuid}</uuid><title>the old one</title>
  <memory unit='MiB'>192</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
    </disk>
    <interface type='user'><mac address='52:54:00:aa:bb:cc'/><model type='virtio'/></interface>
    <serial type='pty'><target port='0'/></serial>
    <graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'/>
  </devices>
</domain>
"""


@dataclass
class Legacy:
    """The guest, and libvirt's word on it."""

    name: str
    id: str
    disk: Path
    domain: Any

    def process(self) -> str:
        """Its QEMU's process."""
        return Path(f"/run/libvirt/qemu/{self.name}.pid").read_text()


@pytest.fixture
def legacy(cloud: Cloud) -> Iterator[Legacy]:
    """A guest that runs the tiny system, with its disk beside all pools of Nacelle's."""
    identity = str(uuid.uuid4())
    name, disk = f"legacy-{identity[:8]}", IMAGES / f"legacy-{identity[:8]}.qcow2"
    shutil.copyfile(tiny_image(), disk)
    domain = cloud.libvirt.defineXML(DOMAIN.format(name=name, uuid=identity, disk=disk))
    domain.create()
    yield Legacy(name, identity, disk, domain)
    with contextlib.suppress(libvirt.libvirtError):
        domain.destroy()
    with contextlib.suppress(libvirt.libvirtError):
        domain.undefine()
    disk.unlink(missing_ok=True)


def adopted(cloud: Cloud, legacy: Legacy) -> None:
    """As an administrator adopts it."""
    (host,) = cloud.wire.get("/nacelle/v1/hosts").json["hosts"]
    cloud.wire.post(f"/nacelle/v1/hosts/{host['id']}/check", {})
    guests = {one["id"]: one for one in cloud.wire.get(f"/nacelle/v1/hosts/{host['id']}/guests").json["guests"]}
    seen = guests[legacy.id]
    assert (seen["name"], seen["title"], seen["state"], seen["memory_mb"]) == (
        legacy.name,
        "the old one",
        "running",
        192,
    )
    assert (seen["disks"][0]["source"], seen["objections"]) == (str(legacy.disk), [])
    project = cloud.wire.get("/identity/v3/projects?name=admin").json["projects"][0]["id"]
    path = f"/nacelle/v1/hosts/{host['id']}/guests/{legacy.id}/adopt"
    answer = cloud.wire.post(path, {"project_id": project})
    assert answer.status == 202, answer.content
    assert legacy.id not in {
        one["id"] for one in cloud.wire.get(f"/nacelle/v1/hosts/{host['id']}/guests").json["guests"]
    }


def is_marked(legacy: Legacy) -> bool:
    return "urn:nacelle:instance:1" in legacy.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)


def test_a_foreign_guest_lives_on_as_an_instance(cloud: Cloud, legacy: Legacy) -> None:
    with SerialPort(cloud.libvirt, legacy.id) as port:
        port.log_in()
        port.type("touch /run/was-here\n")
        before = legacy.process()
        adopted(cloud, legacy)
        wait_until("it carries the mark", lambda: is_marked(legacy))
        server = cloud.wait_for_status(legacy.id, "ACTIVE")
        assert (server["name"], server["OS-EXT-SRV-ATTR:instance_name"]) == ("the old one", legacy.name)
        assert (server["flavor"]["vcpus"], server["flavor"]["ram"], server["image"]) == (1, 192, "")
        port.type("ls /run/was-here && echo still-$((40+2))\n")
        port.wait_for("still-42")
        assert legacy.process() == before

    cloud.act(legacy.id, pause=None)
    wait_until("it is paused", lambda: cloud.server(legacy.id)["status"] == "PAUSED")
    cloud.act(legacy.id, unpause=None)
    wait_until("it runs", lambda: cloud.server(legacy.id)["status"] == "ACTIVE")
    definition = legacy.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    cloud.act(legacy.id, reboot={"type": "HARD"})
    cloud.wait_for_status(legacy.id, "ACTIVE")
    assert legacy.process() != before
    assert legacy.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == definition
    assert "login:" in cloud.wait_for_login(legacy.id)  # its log, from this start on
    console = cloud.wire.post(
        f"{SERVERS}/{legacy.id}/remote-consoles", {"remote_console": {"protocol": "vnc", "type": "novnc"}}, **LATEST
    )
    assert console.status == 200, console.content

    cloud.act(legacy.id, **{"os-stop": None})
    cloud.wait_for_status(legacy.id, "SHUTOFF")
    cloud.act(legacy.id, **{"os-start": None})
    cloud.wait_for_status(legacy.id, "ACTIVE")
    for refused in ({"resize": {"flavorRef": "1"}}, {"shelve": None}, {"createImage": {"name": "x"}}):
        answer = cloud.wire.post(f"{SERVERS}/{legacy.id}/action", refused)
        assert (answer.status, "it was adopted" in answer.content.decode()) == (409, True), answer.content
    assert cloud.wire.delete(f"{SERVERS}/{legacy.id}").status == 204
    wait_until("it is gone", lambda: cloud.wire.get(f"{SERVERS}/{legacy.id}").status == 404)
    assert legacy.name not in {domain.name() for domain in cloud.libvirt.listAllDomains()}
    assert legacy.disk.exists()  # nobody has said that it shall go
