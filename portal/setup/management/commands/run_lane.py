"""`manage.py run_lane NAME`: the workers of one lane, in the foreground."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from portal.setup.lane import run_lane


class Command(BaseCommand):
    """Workers for one lane; start as many as wanted, on any control node."""

    help = "Run the workers of one lane (compute or transfer)."

    def add_arguments(self, parser: CommandParser) -> None:
        """The lane."""
        parser.add_argument("lane")

    def handle(self, *args: Any, **options: Any) -> None:
        """Until SIGTERM."""
        try:
            run_lane(options["lane"])
        except ValueError as error:
            raise CommandError(str(error)) from error
