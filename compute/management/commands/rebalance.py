"""`manage.py rebalance`: moves that even out the load of the hosts."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from compute.errors import ComputeError
from compute.operations import rebalance
from portal.identity.actor import SYSTEM


class Command(BaseCommand):
    """Proposes the moves, and has them made."""

    help = "Say which moves would even out the load of the hosts, and with --apply have them made."

    def add_arguments(self, parser: CommandParser) -> None:
        """One flag."""
        parser.add_argument("--apply", action="store_true", help="Have the moves made; the watcher sees to it.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Propose, and apply what was proposed."""
        proposal = rebalance.propose(SYSTEM)
        for instance, move in proposal.moves:
            self.stdout.write(f"{instance.name}\t{instance.pk}\t{move.source.name}\t{move.target.name}")
        self.stdout.write(proposal.plan.sentence)
        if options["apply"]:
            try:
                rebalance.apply(SYSTEM, proposal.key)
            except ComputeError as error:
                raise CommandError(str(error)) from error
            self.stdout.write("The moves are being made.")
