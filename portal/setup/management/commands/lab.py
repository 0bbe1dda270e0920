"""`manage.py lab up`, `down`, `status`, and what can befall one of its hosts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from compute.errors import ComputeError
from compute.models import Host
from portal.setup import bootstrap
from portal.setup.lab.commands import LabError
from portal.setup.lab.laboratory import RANGES, Laboratory
from portal.setup.lab.registration import forget, register

BEFALLS = {
    "off": "Cut the power of a host.",
    "on": "Give a host its power back.",
    "cut": "Pull the network cable of a host out.",
    "mend": "Put the network cable of a host back.",
}


class Command(BaseCommand):
    """Makes and removes a laboratory of hosts on this machine."""

    help = "Several compute hosts on this machine, each in namespaces with its own libvirtd, to try what needs many."

    def add_arguments(self, parser: CommandParser) -> None:
        """The verbs."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        up = verbs.add_parser("up", help="Start the hosts and register them.")
        up.add_argument("--hosts", type=int, default=3, help="How many. Default: 3.")
        up.add_argument("--shared", type=_numbers, default=[], help="Which share their storage, such as 1,2.")
        verbs.add_parser("down", help="Delete their instances, and remove them without a trace.")
        verbs.add_parser("status", help="What there is, and how to get into each host.")
        for verb, sentence in BEFALLS.items():
            verbs.add_parser(verb, help=sentence).add_argument("number", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        bootstrap.migrate()
        laboratory = Laboratory(settings.DATA_DIR / "lab")
        try:
            match options["verb"]:
                case "up":
                    self._up(laboratory, options["hosts"], options["shared"])
                case "down":
                    self._down(laboratory)
                case "status":
                    self._status(laboratory)
                case verb:
                    self._befall(laboratory, verb, options["number"])
        except (LabError, ComputeError) as error:
            raise CommandError(str(error)) from error

    def _up(self, laboratory: Laboratory, hosts: int, shared: list[int]) -> None:
        laboratory.up(hosts, shared, settings.STORAGE_POOL_PATH if shared else "")
        register(laboratory.hosts, self.stdout.write)
        self._status(laboratory)
        self.stdout.write(f"A Nacelle that is to add hosts of it itself needs NACELLE_TRUSTED_HOSTS={RANGES}.")

    def _down(self, laboratory: Laboratory) -> None:
        if laboratory.plan is None:
            self.stdout.write("There is no laboratory.")
            return
        laboratory.power_off()  # what is deleted then needs no host, however it fares
        forget(laboratory.hosts, self.stdout.write)
        laboratory.down()
        self.stdout.write("The laboratory is gone.")

    def _status(self, laboratory: Laboratory) -> None:
        if (plan := laboratory.plan) is None:
            self.stdout.write("There is no laboratory. `make lab N=3` makes one.")
            return
        registered = set(Host.objects.values_list("uri", flat=True))
        for one in laboratory.hosts:
            state = "off" if not one.is_on() else "answers" if one.answers() else "does not answer"
            words = [one.name, one.uri, state]
            words += ["shared storage"] if one.number in plan.shared else []
            words += [] if one.uri in registered else ["not registered"]
            self.stdout.write("\t".join([*words, " ".join(one.entrance()) if one.is_on() else ""]))

    def _befall(self, laboratory: Laboratory, verb: str, number: int) -> None:
        host = laboratory.host(number)
        match verb:
            case "off":
                host.power_off()
            case "on":
                laboratory.power_on(number)
            case "cut":
                host.cut()
            case _:
                host.mend()


def _numbers(text: str) -> list[int]:
    """``1,2`` as numbers. Raises ValueError."""
    return [int(word) for word in text.split(",") if word]
