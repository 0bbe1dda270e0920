"""`manage.py bootstrap`: database and base data, without starting anything."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.setup import bootstrap


class Command(BaseCommand):
    """Makes a new cloud, or brings an old one up to date."""

    help = "Create or update the database and the base data (administrator, roles, flavors, network, images)."

    def add_arguments(self, parser: CommandParser) -> None:
        """Options."""
        parser.add_argument("--no-images", action="store_true", help="Do not build the tiny guest image.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run each step; all are idempotent."""
        say = self.stdout.write
        bootstrap.migrate()
        bootstrap.base_data(say)
        if not options["no_images"]:
            bootstrap.tiny_images(say)
