"""The base data of a cloud. Everything here may run again at each start and changes nothing then."""

from __future__ import annotations

import os
from collections.abc import Callable

import yaml
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from compute import zones
from compute.errors import ComputeError
from compute.flavor_defaults import ensure_flavors
from compute.hosts.registration import add_host
from compute.images.registration import register_image
from compute.images.tiny import build as tiny
from compute.models import Host, HostState, Image, ImageStatus, Instance, Network
from compute.networks.bootstrap import ensure_private_network
from compute.operations.create import BootRequest, create
from portal.identity.actor import SYSTEM, actor_on_project
from portal.identity.backend import verify_password
from portal.identity.bootstrap import Access, admin_openrc, clouds_yaml, ensure_identity, write_private
from portal.identity.models import Project, User
from portal.setup.private_range import free_range

TINY_PROPERTIES = {"os_distro": "nacelle-tiny", "hw_architecture": "x86_64"}
LOCAL_URI = "qemu:///system"
CLOUDS_YAML = "clouds.yaml"
Say = Callable[[str], None]


def migrate() -> None:
    """Bring the database to this version's shape, if it is not there yet."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", verbosity=0, interactive=False)


def base_data(say: Say) -> None:
    """Domain, roles, the administrator, flavors, the network, and the files that let clients in."""
    known = admin_password()
    identity = ensure_identity(os.environ.get("NACELLE_ADMIN_PASSWORD"))
    password = identity.password or known
    if password:
        access = Access(username=identity.user.name, password=password, project_name=identity.project.name)
        write_private(settings.DATA_DIR / CLOUDS_YAML, clouds_yaml(access))
        write_private(settings.DATA_DIR / "admin-openrc", admin_openrc(access))
    elif not (settings.DATA_DIR / CLOUDS_YAML).exists():
        say("The administrator's password is not known here; set NACELLE_ADMIN_PASSWORD once to choose a new one.")
    ensure_flavors()
    # Nothing watched while Nacelle was off. What was up then is believed to be, until the watcher has looked.
    Host.objects.filter(state=HostState.UP).update(last_seen_at=timezone.now())
    with transaction.atomic():
        zones.settle(Host.objects.select_for_update())  # the default zone is a setting, and may be another now
    if not Network.objects.filter(project=identity.project, name="private").exists():
        ensure_private_network(identity.project, settings.PRIVATE_NETWORK_CIDR or free_range())


def tiny_images(say: Say) -> None:
    """Build the tiny guest and register it as the public images ``tiny`` and ``tiny-alt``, once."""
    if Image.objects.filter(name__in=("tiny", "tiny-alt")).exclude(status=ImageStatus.QUEUED).exists():
        return
    path = settings.DATA_DIR / "tiny.qcow2"
    if not path.exists():
        say("Building the tiny guest image from Debian's kernel and busybox …")
        tiny.build(path, settings.DATA_DIR / "tiny-work")
    project = Project.objects.get(name="admin", domain_id="default")
    for name in ("tiny", "tiny-alt"):
        register_image(
            name=name, path=path, disk_format="qcow2", visibility="public", properties=TINY_PROPERTIES, project=project
        )


def local_host(say: Say) -> None:
    """Register this machine as the first host. A libvirt that cannot be used is said, and tried again next time."""
    if Host.objects.exists():
        return
    try:
        host = add_host(SYSTEM, uri=LOCAL_URI)
        say(f"Registered this machine as the host {host.name}.")
    except ComputeError as error:
        say(f"This machine could not be registered as a host: {error}")


def first_instance(say: Say) -> None:
    """Launch ``hello``, unless this cloud ever had an instance."""
    image = Image.objects.filter(name="tiny", status="active").first()
    if Instance.objects.exists() or image is None or not Host.objects.exists():
        return
    admin = User.objects.get(name="admin", domain_id="default")
    actor = actor_on_project(admin, Project.objects.get(name="admin", domain_id="default"))
    if actor is None:
        return
    try:
        create(actor, BootRequest(name="hello", flavor_id="42", image_id=str(image.id)))
        say("Launched the instance hello from the image tiny.")
    except ComputeError as error:
        say(f"The instance hello could not be launched: {error}")


def admin_password() -> str:
    """The administrator's password as the client files have it, if it still is the one."""
    try:
        text = (settings.DATA_DIR / CLOUDS_YAML).read_text()
        password = str(yaml.safe_load(text)["clouds"]["nacelle"]["auth"]["password"])
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        return ""
    user = User.objects.select_related("domain").filter(name="admin", domain_id="default").first()
    return password if verify_password(user, password) else ""
