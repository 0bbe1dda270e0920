"""`manage.py host`: add, list, fence and unfence hosts."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from compute.errors import ComputeError, NotFound
from compute.hosts import fence_runs, fencing
from compute.hosts.registration import add_host
from compute.models import FencingState, Host
from compute.models.fencing import OPEN_FENCINGS
from portal.identity.actor import SYSTEM

LOOK_SECONDS = 0.2


class Command(BaseCommand):
    """Registers, lists and fences compute hosts."""

    help = "Register a compute host by its libvirt URI, list the hosts, or fence one that is down."

    def add_arguments(self, parser: CommandParser) -> None:
        """A verb and what it is about."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        add = verbs.add_parser("add", help="Register a host.")
        add.add_argument("uri", help="A libvirt URI, such as qemu+ssh://root@host/system.")
        add.add_argument("--name", default="", help="Default: the host's own name.")
        add.add_argument("--domain-type", default="", choices=["", "kvm", "qemu"], help="Default: found out.")
        verbs.add_parser("list", help="List the hosts.")
        fence = verbs.add_parser("fence", help="Make sure that a host that is down is off.")
        fence.add_argument("name")
        fence.add_argument("--confirmed-off", action="store_true", help="You have seen that it is off; run nothing.")
        unfence = verbs.add_parser("unfence", help="Say that a fenced host may not be off, after all.")
        unfence.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        verbs = {"add": self._add, "list": self._list, "fence": self._fence, "unfence": self._unfence}
        try:
            verbs[options["verb"]](options)
        except ComputeError as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        for host in Host.objects.all():
            self.stdout.write(f"{host.name}\t{host.uri}\t{host.zone}\t{host.state}\t{host.state_reason}")

    def _fence(self, options: dict[str, Any]) -> None:
        host = _host(options["name"])
        if options["confirmed_off"]:
            fencing.confirm_off(SYSTEM, host)
            self.stdout.write(f"{host.name} is fenced.")
            return
        row = fencing.fence(SYSTEM, host)
        while row.state in OPEN_FENCINGS:  # here, or by the watcher if that was faster
            if owner := fence_runs.take(row.pk):
                fence_runs.run(row.pk, owner)
            else:
                time.sleep(LOOK_SECONDS)
            row.refresh_from_db()
        if row.state != FencingState.DONE:
            raise CommandError(f"{row.result} {row.output}".strip())
        self.stdout.write(f"{host.name} is fenced. {row.result}")

    def _unfence(self, options: dict[str, Any]) -> None:
        host = _host(options["name"])
        fencing.unfence(SYSTEM, host)
        self.stdout.write(f"{host.name} is fenced no more.")

    def _add(self, options: dict[str, Any]) -> None:
        host = add_host(SYSTEM, uri=options["uri"], name=options["name"], domain_type=options["domain_type"])
        self.stdout.write(f"Registered {host.name}: {host.vcpus} CPUs, {host.memory_mb} MiB, {host.disk_gb} GiB.")


def _host(name: str) -> Host:
    """The host of this name. Raises NotFound."""
    found = Host.objects.filter(name=name).first()
    if found is None:
        raise NotFound(f"There is no host {name}.")
    return found
