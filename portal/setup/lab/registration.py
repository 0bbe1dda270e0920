"""The laboratory's hosts as hosts of this Nacelle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from django.conf import settings

from compute.hosts.registration import mark_down
from compute.models import OPEN_STATES, Action, Host, Instance
from compute.operations.delete import ForceDelete
from compute.operations.engine import request
from compute.operations.worker import perform
from portal.identity.actor import SYSTEM
from portal.setup.lab.commands import LabError
from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import RANGES

Say = Callable[[str], None]
TRUSTED = "NACELLE_TRUSTED_HOSTS"
LOOK_SECONDS = 0.1


def register(hosts: list[LabHost], say: Say) -> None:
    """Add those that are not there yet, as `manage.py host add` does. Raises LabError with its complaint."""
    known = set(Host.objects.values_list("uri", flat=True))
    trusted = ",".join(filter(None, (os.environ.get(TRUSTED, ""), str(RANGES))))
    for host in hosts:
        if host.uri in known:
            continue
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "host", "add", host.uri, "--name", host.name]
        ended = subprocess.run(
            command, env={**os.environ, TRUSTED: trusted}, capture_output=True, text=True, check=False
        )
        if ended.returncode != 0:
            raise LabError(ended.stderr.strip())
        say(ended.stdout.strip())


def forget(hosts: list[LabHost], say: Say) -> None:
    """Delete the instances on these hosts, which must be off, and their rows. Nacelle may run or not."""
    for row in Host.objects.filter(uri__in=[host.uri for host in hosts]):
        mark_down(row.pk, "The laboratory is being removed.")
        for instance in Instance.objects.alive().filter(host=row):
            _delete(instance)
            say(f"Deleted the instance {instance.name}.")
        Instance.objects.filter(host=row).update(host=None)
        row.delete()
        say(f"{row.name} is no host any more.")


def _delete(instance: Instance) -> None:
    """As a user deletes it, but to the end of it: here, unless a worker is at it already."""
    action = request(ForceDelete, instance, SYSTEM)
    while Action.objects.filter(pk=action.pk, state__in=OPEN_STATES).exists():
        perform(action.pk, ForceDelete.lane)
        time.sleep(LOOK_SECONDS)
