"""Asking for new instances: every check first, then rows, quota and operations in one transaction."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction

from compute import quota, server_groups, zones
from compute.errors import Invalid, NotFound
from compute.images.store import not_bootable
from compute.models import (
    Flavor,
    Host,
    Image,
    ImageStatus,
    Instance,
    KeyPair,
    Port,
    SecurityGroup,
    ServerGroup,
    TaskState,
    VmState,
    announce_each,
)
from compute.models.flavor import disk_claim_gb
from compute.networks import plugging
from compute.networks.errors import PortInUse
from compute.networks.groups import default_group
from compute.networks.plugging import Card, NetworkRequest
from compute.networks.quota import check_ports_of_servers
from compute.operations import siblings
from compute.operations.boot import Boot
from compute.operations.engine import new_action
from portal.compiled import given, insert
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from portal.identity.visible import VisibleRows

GIB = 1 << 30
FORCED_HOST = "os_compute_api:servers:create:forced_host"
REQUESTED_HOST = "compute:servers:create:requested_destination"
_FLAVOR = VisibleRows(lambda actor: Flavor.objects.visible_to(actor).filter(**given(Flavor, "pk"), disabled=False))
_IMAGE = VisibleRows(lambda actor: Image.objects.visible_to(actor).filter(**given(Image, "pk")))


@dataclass(frozen=True)
class BootRequest:
    """What a user wants to launch. ``networks`` None: the one network that there is (Nova's "auto").

    ``forced``: on ``host`` whatever the filters say; else they are asked about that host alone.
    """

    name: str
    flavor_id: str
    image_id: str
    networks: tuple[NetworkRequest, ...] | None = None
    key_name: str | None = None
    user_data: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    description: str | None = None
    hostname: str | None = None
    zone: str = ""
    min_count: int = 1
    max_count: int = 1
    config_drive: bool = False
    admin_password: str | None = field(default=None, repr=False)
    security_groups: tuple[str, ...] = ()
    access_ipv4: str = ""
    access_ipv6: str = ""
    named_by_count: bool = True
    host: str = ""
    forced: bool = False
    disk_config: str = "MANUAL"
    scheduler_hints: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Checked:
    """The rows that a request names, found and allowed."""

    flavor: Flavor
    image: Image
    networks: list[Card]
    key_public: str
    groups: list[SecurityGroup]


def create(actor: Actor, wanted: BootRequest) -> list[Instance]:
    """Create ``max_count`` instances, or as many as the quota leaves, ``min_count`` at the least.

    Raises Invalid for what the request names wrongly, QuotaExceeded, and policy.Forbidden; then
    nothing is left behind.
    """
    enforce(actor, Boot.policy, actor.project_id)
    if wanted.host:
        enforce(actor, FORCED_HOST if wanted.forced else REQUESTED_HOST)
    if actor.project_id is None:
        raise Invalid("A server belongs to a project; the token is not scoped to one.")
    checked = _check(actor, wanted)
    with transaction.atomic():
        count = _take_quota(actor.project_id, wanted, checked.flavor)
        ports_made = sum(card.port is None for card in checked.networks)
        check_ports_of_servers(actor.project_id, count * ports_made)
        hint = wanted.scheduler_hints.get(server_groups.HINT)
        group = server_groups.joined(actor, hint, count) if hint else None
        reservation = "r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
        return [
            _create_one(actor, wanted, checked, group, index=index, count=count, reservation=reservation)
            for index in range(count)
        ]


def _take_quota(project_id: str, wanted: BootRequest, flavor: Flavor) -> int:
    count = wanted.max_count
    if wanted.min_count < wanted.max_count:
        left = quota.leaves(project_id, flavor)
        count = count if left is None else max(wanted.min_count, min(count, left))
    quota.take(project_id, instances=count, cores=count * flavor.vcpus, memory_mb=count * flavor.memory_mb)
    return count


def _check(actor: Actor, wanted: BootRequest) -> _Checked:
    flavor = _FLAVOR.first(actor, pk=wanted.flavor_id)
    if flavor is None:
        raise Invalid(f"Flavor {wanted.flavor_id} could not be found.", about="flavor")
    image = usable_image(actor, wanted.image_id, flavor.memory_mb, flavor.disk_gb)
    key_public = ""
    if wanted.key_name is not None:
        key = KeyPair.objects.filter(user_id=actor.user_id, name=wanted.key_name).first()
        if key is None:
            raise Invalid("Invalid key_name provided.", about="key_pair")
        key_public = key.public_key
    check_where(host=wanted.host, zone=wanted.zone)
    if wanted.max_count < wanted.min_count:
        raise Invalid("min_count must be <= max_count", about="count")
    return _Checked(flavor, image, _networks(actor, wanted), key_public, _groups(actor, wanted.security_groups))


def check_where(*, host: str, zone: str) -> None:
    """Raise Invalid unless the host and the zone that are asked for ("": any) are there, the one in the other."""
    found = Host.objects.filter(name=host).first() if host else None
    if host and found is None:
        raise Invalid(f"Compute host {host} could not be found.", about="host")
    if found is not None and zone and found.zone != zone:
        raise Invalid(f'Host "{host}" is not in the availability zone "{zone}".', about="host")
    if zone and found is None:
        zones.check_available(zone)


def usable_image(actor: Actor, image_id: str, memory_mb: int, disk_gb: int) -> Image:
    """The image, if the actor may boot it in so much memory and on a root disk of this size (0: any).

    Raises Invalid, with Nova's sentences.
    """
    try:
        image = _IMAGE.first(actor, pk=UUID(str(image_id)))
    except ValueError:
        image = None
    if image is None or image.status in (ImageStatus.DELETED, ImageStatus.PENDING_DELETE):
        raise Invalid(f"Can not find requested image {image_id}.", about="image")
    if image.status != ImageStatus.ACTIVE:
        raise Invalid(f"Image {image.id} is not active.", about="image")
    if refusal := not_bootable(image):
        raise Invalid(refusal, about="image")
    if memory_mb < image.min_memory_mb:
        raise Invalid("Flavor's memory is too small for requested image.", about="flavor")
    if disk_gb:
        needed = max(image.virtual_size or image.size or 0, image.min_disk_gb * GIB)
        if disk_gb * GIB < needed:
            raise Invalid(
                f"Flavor's disk is too small for requested image. Flavor disk is {disk_gb * GIB} bytes, "
                f"image needs {needed} bytes. Choose a larger flavor.",
                about="flavor",
            )
    return image


def _networks(actor: Actor, wanted: BootRequest) -> list[Card]:
    asked = (NetworkRequest(),) if wanted.networks is None else wanted.networks
    if len(asked) > plugging.MOST_CARDS:
        raise Invalid(f"A server may have at most {plugging.MOST_CARDS} network cards.", about="network")
    assert actor.project_id is not None
    try:
        return [plugging.find(actor, one, actor.project_id) for one in asked]
    except (NotFound, PortInUse) as error:
        raise Invalid(str(error), about="network") from error


def _groups(actor: Actor, names: tuple[str, ...]) -> list[SecurityGroup]:
    assert actor.project_id is not None
    default = default_group(actor.project_id)
    found = []
    for name in dict.fromkeys(names):
        if name == "default":
            found.append(default)
            continue
        own = SecurityGroup.objects.filter(project_id=actor.project_id)
        matches = [group for group in own if name in (group.name, str(group.id))]
        if not matches:
            raise Invalid(f"Security group {name} not found.", about="security_groups")
        if len(matches) > 1:
            raise Invalid(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
        found.append(matches[0])
    return found or [default]


def hostname_from(name: str) -> str:
    """A name that a guest can carry: letters, digits and hyphens of the display name, 63 at the most."""
    plain = re.sub(r"[^a-z0-9-]+", "-", re.sub(r"[\s_.]+", "-", name.strip().lower())).strip("-")[:63].strip("-")
    return plain


def _create_one(
    actor: Actor,
    wanted: BootRequest,
    checked: _Checked,
    group: ServerGroup | None,
    *,
    index: int,
    count: int,
    reservation: str,
) -> Instance:
    assert actor.project_id is not None
    flavor = checked.flavor
    name = f"{wanted.name}-{index + 1}" if count > 1 and wanted.named_by_count else wanted.name
    instance = Instance(
        **_asked(wanted),
        name=name,
        project_id=actor.project_id,
        user_id=actor.user_id,
        flavor=flavor.snapshot(),
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        disk_gb=disk_claim_gb(flavor.snapshot()),
        image=checked.image,
        image_name=checked.image.name or "",
        image_properties=checked.image.properties,
        key_public=checked.key_public,
        reservation_id=reservation,
        launch_index=index,
        vm_state=VmState.BUILDING,
        task_state=TaskState.SCHEDULING,
        server_group=group,
    )
    instance.hostname = (wanted.hostname if count == 1 else None) or hostname_from(name) or f"server-{instance.id}"
    insert(instance)
    ports = _plug(instance, checked)
    sealed = {"admin_password": wanted.admin_password}
    new_action(Boot, instance, actor, {**_remembered(wanted, count), "secrets": sealed})
    plugged = [("port", port.pk, port.project_id) for port in ports]
    announce_each(*plugged, ("server", instance.pk, instance.project_id))
    return instance


def _asked(wanted: BootRequest) -> dict[str, Any]:
    """The fields that are as the request says."""
    return {
        "description": wanted.description,
        "key_name": wanted.key_name,
        "user_data": wanted.user_data,
        "config_drive": wanted.config_drive,
        "metadata": dict(wanted.metadata),
        "tags": sorted(set(wanted.tags)),
        "access_ipv4": wanted.access_ipv4,
        "access_ipv6": wanted.access_ipv6,
        "zone": wanted.zone,
        "asked_host": wanted.host,
        "host_forced": wanted.forced,
        "disk_config": wanted.disk_config,
        "scheduler_hints": wanted.scheduler_hints,
    }


def _plug(instance: Instance, checked: _Checked) -> list[Port]:
    try:
        return [
            plugging.plug(instance, card, checked.groups, position) for position, card in enumerate(checked.networks)
        ]
    except PortInUse as error:
        raise Invalid(str(error)) from error


def _remembered(wanted: BootRequest, count: int) -> dict[str, Any]:
    asked = {"flavor": wanted.flavor_id, "image": str(wanted.image_id), "zone": wanted.zone}
    return asked | siblings.remembered(count, wanted.min_count)
