"""The laboratory's hosts as hosts of this Nacelle."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings

from compute.errors import ComputeError
from compute.hosts.registration import add_host, mark_down
from compute.hosts.removal import remove_host
from compute.models import OPEN_STATES, Action, Host, Instance
from compute.operations.delete import ForceDelete
from compute.operations.engine import request
from compute.operations.worker import perform
from portal.identity.actor import SYSTEM
from portal.setup.lab.commands import LabError
from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import RANGES

Say = Callable[[str], None]
LOOK_SECONDS = 0.1


def register(hosts: list[LabHost], say: Say) -> None:
    """Add those that are not there yet. Raises LabError with why one is not taken."""
    # Whoever makes a laboratory trusts its bridge; the setting is asked only when a host is added.
    settings.TRUSTED_HOSTS = [*settings.TRUSTED_HOSTS, str(RANGES)]
    known = set(Host.objects.values_list("uri", flat=True))
    for host in hosts:
        if host.uri in known:
            continue
        try:
            row = add_host(SYSTEM, uri=host.uri, name=host.name)
        except ComputeError as error:
            raise LabError(f"{host.name} could not be registered: {error}") from error
        say(f"Registered {row.name}: {row.vcpus} CPUs, {row.memory_mb} MiB, {row.disk_gb} GiB.")


def forget(hosts: list[LabHost], say: Say) -> None:
    """Delete the instances on these hosts, which must be off, and their rows. Nacelle may run or not."""
    for row in Host.objects.filter(uri__in=[host.uri for host in hosts]):
        mark_down(row.pk, "The laboratory is being removed.")
        for instance in Instance.objects.alive().filter(host=row):
            _delete(instance)
            say(f"Deleted the instance {instance.name}.")
        remove_host(SYSTEM, row)
        say(f"{row.name} is no host any more.")


def _delete(instance: Instance) -> None:
    """As a user deletes it, but to the end of it: here, unless a worker is at it already."""
    action = request(ForceDelete, instance, SYSTEM)
    while Action.objects.filter(pk=action.pk, state__in=OPEN_STATES).exists():
        perform(action.pk, ForceDelete.lane)
        time.sleep(LOOK_SECONDS)
