"""`manage.py host`: what can be done to compute hosts, on the control node's command line."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from compute.errors import ComputeError, Conflict, NotFound
from compute.hosts import checks, editing, fence_runs, fencing, lines, registration, removal
from compute.hosts.findings import Severity
from compute.hosts.service import set_enabled
from compute.hosts.tls_script import tls_script
from compute.models import FencingState, Host
from compute.models.fencing import OPEN_FENCINGS
from compute.operations import relocations, ways_off
from compute.operations.adopt import AdoptRequest, adopt
from compute.operations.evacuate import host_refusal
from portal.identity.actor import SYSTEM
from portal.identity.models import Project

LOOK_SECONDS = 0.2
# Options of `set`, and their types: the fields that may change.
FIELDS: dict[str, Any] = {
    "name": str,
    "uri": str,
    "console_address": str,
    "migration_address": str,
    "domain_type": str,
    "cpu_ratio": float,
    "memory_ratio": float,
    "disk_ratio": float,
    "reserved_memory_mb": int,
    "reserved_disk_gb": int,
}


class Command(BaseCommand):
    """Adds, lists, shows, changes, removes and fences compute hosts."""

    help = "Add a compute host by its libvirt URI; list, show, change and remove hosts; fence one that is down."

    def add_arguments(self, parser: CommandParser) -> None:
        """A verb, and what it is about."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        add = verbs.add_parser("add", help="Register a host.")
        add.add_argument("uri", help="A libvirt URI, such as qemu+ssh://root@host/system.")
        add.add_argument("--name", default="", help="Default: the host's own name.")
        add.add_argument("--domain-type", default="", choices=["", "kvm", "qemu"], help="Default: found out.")
        verbs.add_parser("list", help="List the hosts.")
        script = verbs.add_parser("tls-script", help="Write the script that lets this cloud in to a host over TLS.")
        script.add_argument("address", help="The name or address that the host's URI will have.")
        for verb, what in (
            ("show", "Show a host."),
            ("check", "Look at a host again, and make what is missing there."),
            ("guests", "List the guests on a host that are not Nacelle's."),
            ("adopt", "Make such a guest an instance."),
            ("set", "Change a host."),
            ("remove", "Remove a host without instances."),
            ("fence", "Make sure that a host that is down is off."),
            ("evacuate", "Start the instances of a host elsewhere that is off for sure."),
            ("drain", "Take a host out of service: move its instances off."),
            ("resume", "Let a host take new instances again."),
            ("unfence", "Say that a fenced host may not be off, after all."),
        ):
            about_one = verbs.add_parser(verb, help=what)
            about_one.add_argument("host", help="Its name or id.")
            getattr(self, f"_options_of_{verb}", lambda parser: None)(about_one)

    def _options_of_set(self, parser: CommandParser) -> None:
        for name, kind in FIELDS.items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=None)

    def _options_of_adopt(self, parser: CommandParser) -> None:
        parser.add_argument("guest", help="Its name on the host, or its UUID.")
        parser.add_argument("--project", required=True, help="Whose instance it becomes: name or id.")
        parser.add_argument("--name", default="", help="Default: its title, or its name on the host.")
        parser.add_argument("--delete-disks", action="store_true", help="Its disks go when the instance is deleted.")
        parser.add_argument("--anyway", action="store_true", help="Also where it does not fit into the host's room.")

    def _options_of_fence(self, parser: CommandParser) -> None:
        parser.add_argument("--confirmed-off", action="store_true", help="You have seen that it is off; run nothing.")

    def _options_of_drain(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", default="", help="For other administrators.")
        parser.add_argument("--at-once", type=int, default=None, help="So many instances at the same time.")
        parser.add_argument("--shut-down", action="store_true", help="Those that cannot be moved while they run, too.")
        parser.add_argument("--dry-run", action="store_true", help="Only say how each instance would be moved.")

    def _options_of_evacuate(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="Only say what becomes of each instance.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it. What is refused is said, and changes nothing."""
        try:
            getattr(self, f"_{options['verb'].replace('-', '_')}")(options)
        except ComputeError as error:
            raise CommandError(str(error)) from error

    def _add(self, options: dict[str, Any]) -> None:
        asked = {name: options[name] for name in ("uri", "name", "domain_type")}
        host = registration.add_host(SYSTEM, **asked)
        self.stdout.write(f"Registered {host.name}: {host.vcpus} CPUs, {host.memory_mb} MiB, {host.disk_gb} GiB.")
        self._findings(host)

    def _check(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
        found = checks.check_host(SYSTEM, host)
        self._findings(host)
        if any(one.severity == Severity.ERROR for one in found):
            raise CommandError("Something has to be put right before instances can be run there.")

    def _findings(self, host: Host) -> None:
        for line in lines.findings(host):
            self.stdout.write(line)

    def _tls_script(self, options: dict[str, Any]) -> None:
        self.stdout.write(tls_script(SYSTEM, options["address"]), ending="")

    def _list(self, options: dict[str, Any]) -> None:
        for host in Host.objects.all():
            self.stdout.write(f"{host.name}\t{host.uri}\t{host.zone}\t{host.state_now}\t{host.why_down}")

    def _show(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
        for name, value in lines.about(host):
            self.stdout.write(f"{name:<20} {value}")
        self._findings(host)

    def _set(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
        changes = {name: options[name] for name in FIELDS if options[name] is not None}
        if not changes:
            raise CommandError("Nothing to change was named; see --help.")
        editing.edit_host(SYSTEM, host, changes)
        self._show({"host": str(host.uuid)})

    def _remove(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
        removal.remove_host(SYSTEM, host)
        self.stdout.write(f"Removed {host.name}. The machine was left as it is.")

    def _guests(self, options: dict[str, Any]) -> None:
        for line in lines.guests(find(options["host"])):
            self.stdout.write(line)

    def _adopt(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
        wanted = AdoptRequest(
            project_id=find_project(options["project"]).pk,
            name=options["name"],
            delete_disks=options["delete_disks"],
            anyway=options["anyway"],
        )
        made = adopt(SYSTEM, host, find_guest(host, options["guest"]), wanted)
        self.stdout.write(f"Adopted {made.name} ({made.pk}) into the project {made.project.name}.")

    def _fence(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
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
        host = find(options["host"])
        fencing.unfence(SYSTEM, host)
        self.stdout.write(f"{host.name} is fenced no more.")

    def _evacuate(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
        for instance, way in ways_off.all_out_of(host):
            self.stdout.write(f"{instance.name}\t{instance.pk}\t{way.said}")
        if options["dry_run"] and (refused := host_refusal(host)):
            self.stderr.write(f"Not now: {refused[1]}")
        if not options["dry_run"]:
            made = relocations.evacuate_host(SYSTEM, host)
            self.stdout.write(f"{made.items.count()} instances are being started elsewhere; the watcher sees to it.")

    def _drain(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
        for instance, way in ways_off.all_off(host):
            self.stdout.write(f"{instance.name}\t{instance.pk}\t{way.said}")
        if not options["dry_run"]:
            wanted = {name: options[name] for name in ("reason", "at_once", "shut_down")}
            made = relocations.drain_host(SYSTEM, host, **wanted)
            self.stdout.write(f"{made.items.count()} instances are being moved off; the watcher sees to it.")

    def _resume(self, options: dict[str, Any]) -> None:
        host = find(options["host"])
        set_enabled(SYSTEM, host, enabled=True)
        self.stdout.write(f"{host.name} takes new instances.")


def find(text: str) -> Host:
    """The host of this name or id. Raises NotFound."""
    found = Host.objects.filter(name=text).first()
    if found is None:
        with suppress(ValueError):
            found = Host.objects.filter(uuid=UUID(text)).first()
    if found is None:
        raise NotFound(f"There is no host {text}.")
    return found


def find_guest(host: Host, text: str) -> UUID:
    """The guest of this name on a host, by its last check; or any of this UUID. Raises NotFound."""
    found = [one["id"] for one in checks.strangers(host) if text in (one["name"], one["id"])]
    with suppress(ValueError):
        return UUID(found[0] if found else text)
    raise NotFound(f"No guest {text} was seen on {host.name}; `manage.py host check {host.name}` looks again.")


def find_project(text: str) -> Project:
    """The one project of this name or id. Raises NotFound and Conflict."""
    found = list(Project.objects.filter(Q(pk=text) | Q(name=text)).distinct()[:2])
    if not found:
        raise NotFound(f"There is no project {text}.")
    if len(found) > 1:
        raise Conflict(f"Several projects are called {text}; name one by its id.")
    return found[0]
