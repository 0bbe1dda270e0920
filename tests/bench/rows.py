"""Many instances at once, as rows alone: with a card, an address and a security group like real ones."""

from __future__ import annotations

import ipaddress
import uuid
from datetime import timedelta
from itertools import islice
from typing import Any

from django.utils import timezone

from compute.models import Flavor, Host, Image, Instance, Network, Port, PortAddress, PowerState, Subnet, VmState
from compute.networks.groups import default_group
from portal.identity.models import Project, User

CIDR = ipaddress.ip_network("10.64.0.0/16")
BATCH = 500


def fill_up(project: Project, user: User, wanted: int) -> None:
    """Add rows until the project has this many instances.

    Their guests do not exist. The power state says so, and the watcher leaves such rows as they are.
    """
    subnet = _subnet(project)
    there = Instance.objects.alive().filter(project=project).count()
    for start in range(there, wanted, BATCH):
        _add(project, user, subnet, range(start, min(start + BATCH, wanted)))


def _subnet(project: Project) -> Subnet:
    network, _ = Network.objects.get_or_create(name="bench", project=project)
    subnet, _ = Subnet.objects.get_or_create(
        network=network, project=project, defaults={"cidr": str(CIDR), "gateway_ip": str(CIDR[1])}
    )
    return subnet


def _add(project: Project, user: User, subnet: Subnet, numbers: range) -> None:
    shared: dict[str, Any] = {
        "flavor": Flavor.objects.get(name="m1.nano").snapshot(),
        "image": Image.objects.get(name="tiny"),
        "host": Host.objects.first(),
    }
    instances = [_instance(project, user, number, shared) for number in numbers]
    ports = [
        Port(project=project, network_id=subnet.network_id, instance=instance, mac=_mac(number), status="ACTIVE")
        for number, instance in zip(numbers, instances, strict=True)
    ]
    free = islice(CIDR.hosts(), numbers.start + 1, None)
    addresses = [PortAddress(port=port, subnet=subnet, address=str(next(free))) for port in ports]
    group = default_group(project.id)
    worn = Port.security_groups.through
    Instance.objects.bulk_create(instances)
    Port.objects.bulk_create(ports)
    PortAddress.objects.bulk_create(addresses)
    worn.objects.bulk_create([worn(port_id=port.pk, securitygroup_id=group.pk) for port in ports])


def _instance(project: Project, user: User, number: int, shared: dict[str, Any]) -> Instance:
    moment = timezone.now() - timedelta(seconds=number)
    return Instance(
        id=uuid.uuid4(),
        name=f"web-{number}",
        hostname=f"web-{number}",
        project=project,
        user=user,
        vcpus=1,
        memory_mb=128,
        disk_gb=1,
        image_name="tiny",
        metadata={"role": "web", "number": str(number)},
        tags=["bench"],
        reservation_id=f"r-{number:08d}",
        vm_state=VmState.ACTIVE,
        power_state=PowerState.NOSTATE,
        created_at=moment,
        updated_at=moment,
        launched_at=moment,
        **shared,
    )


def _mac(number: int) -> str:
    return "fa:16:3d:" + ":".join(f"{octet:02x}" for octet in number.to_bytes(3, "big"))
