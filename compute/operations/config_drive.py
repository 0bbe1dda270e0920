"""The config drive: what a guest reads of itself at its first boot, in OpenStack's form.

An ISO 9660 file system labelled ``config-2``, as Nova's documentation of config drives has it; with
Rock Ridge and Joliet so that the files have their real names on any guest.
"""

from __future__ import annotations

import base64
import io
import json
from typing import Any, BinaryIO

from pycdlib import PyCdlib

from compute.models import Instance, Port
from compute.operations.guest import ports_of

LABEL = "config-2"


def build(
    instance: Instance, admin_password: str | None = None, ports: list[Port] | None = None
) -> tuple[BinaryIO, int]:
    """The drive's content and its size in bytes. The password is for the guest's administrator (Nova's admin_pass).

    ``ports``: the instance's, if at hand.
    """
    secret = {"admin_pass": admin_password} if admin_password else {}
    ports = ports_of(instance) if ports is None else ports
    files = {
        "openstack/latest/meta_data.json": _json(meta_data(instance, ports) | secret),
        "openstack/latest/network_data.json": _json(network_data(ports)),
        "openstack/latest/vendor_data.json": b"{}",
    }
    if instance.user_data:
        files["openstack/latest/user_data"] = base64.b64decode(instance.user_data)
    image = _iso(files)
    return io.BytesIO(image), len(image)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def meta_data(instance: Instance, ports: list[Port]) -> dict[str, Any]:
    """``meta_data.json``: who the guest is."""
    data: dict[str, Any] = {
        "uuid": str(instance.id),
        "name": instance.name,
        "hostname": instance.hostname,
        "launch_index": instance.launch_index,
        "availability_zone": instance.host.zone if instance.host else "nova",
        "project_id": instance.project_id,
        "meta": instance.metadata,
        "devices": [_tagged(port) for port in ports if port.tag],
    }
    if instance.key_name:
        data["public_keys"] = {instance.key_name: instance.key_public}
        data["keys"] = [{"name": instance.key_name, "type": "ssh", "data": instance.key_public}]
    return data


def _tagged(port: Port) -> dict[str, Any]:
    """A network card that the user has given a tag; where on its buses it will be is not known yet."""
    return {"type": "nic", "bus": "none", "address": "none", "mac": port.mac, "tags": [port.tag]}


def network_data(ports: list[Port]) -> dict[str, Any]:
    """``network_data.json``: its cards and addresses. Addresses come by DHCP where there is one."""
    links, networks, services = [], [], []
    for index, port in enumerate(ports):
        link = f"tap{str(port.id)[:11]}"
        links.append(
            {
                "id": link,
                "type": "phy",
                "ethernet_mac_address": port.mac,
                "mtu": port.network.mtu,
                "vif_id": str(port.id),
            }
        )
        for address in port.addresses.all():
            subnet = address.subnet
            networks.append(
                {
                    "id": f"network{index}",
                    "type": "ipv4_dhcp" if subnet.enable_dhcp else "ipv4",
                    "link": link,
                    "network_id": str(port.network_id),
                    "ip_address": address.address,
                    "netmask": subnet.cidr.rsplit("/", 1)[1],
                }
            )
            services += [{"type": "dns", "address": server} for server in subnet.dns_nameservers]
    return {"links": links, "networks": networks, "services": services}


def _iso(files: dict[str, bytes]) -> bytes:
    iso = PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    made: set[str] = set()
    for number, (path, content) in enumerate(sorted(files.items())):
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in made:
                iso.add_directory(f"/{folder.upper()}", rr_name=parts[depth - 1], joliet_path=f"/{folder}")
                made.add(folder)
        short = "/" + "/".join(parts[:-1]).upper() + f"/F{number}.;1"
        iso.add_fp(io.BytesIO(content), len(content), short, rr_name=parts[-1], joliet_path=f"/{path}")
    output = io.BytesIO()
    iso.write_fp(output)
    iso.close()
    return output.getvalue()
