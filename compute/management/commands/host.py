"""`manage.py host add URI` and `manage.py host list`."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from compute.errors import ComputeError
from compute.hosts.registration import add_host
from compute.models import Host
from portal.identity.actor import SYSTEM


class Command(BaseCommand):
    """Registers and lists compute hosts."""

    help = "Register a compute host by its libvirt URI, or list the hosts."

    def add_arguments(self, parser: CommandParser) -> None:
        """Two verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        add = verbs.add_parser("add", help="Register a host.")
        add.add_argument("uri", help="A libvirt URI, such as qemu+ssh://root@host/system.")
        add.add_argument("--name", default="", help="Default: the host's own name.")
        add.add_argument("--domain-type", default="", choices=["", "kvm", "qemu"], help="Default: found out.")
        verbs.add_parser("list", help="List the hosts.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        if options["verb"] == "add":
            self._add(options)
        else:
            for host in Host.objects.all():
                self.stdout.write(f"{host.name}\t{host.uri}\t{host.zone}\t{host.state}\t{host.state_reason}")

    def _add(self, options: dict[str, Any]) -> None:
        try:
            host = add_host(
                SYSTEM,
                uri=options["uri"],
                name=options["name"],
                domain_type=options["domain_type"],
            )
        except ComputeError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Registered {host.name}: {host.vcpus} CPUs, {host.memory_mb} MiB, {host.disk_gb} GiB.")
