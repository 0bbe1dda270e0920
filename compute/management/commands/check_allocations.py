"""`manage.py check_allocations`: whether claims and usages are what the instances say."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from compute.reconciliation import Difference, differences

HEADINGS = ("what", "resource", "recorded", "from the instances", "difference")


class Command(BaseCommand):
    """Recomputes hosts' claims and projects' quota usages from the instances."""

    help = (
        "Recompute the hosts' claims and the projects' quota usages from the instances and print what differs. "
        "Exit code 1 when something differs and was not set right. It may run while Nacelle does."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Two flags."""
        parser.add_argument("--fix", action="store_true", help="Set what differs to what the instances say.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Compare, print, exit."""
        found = differences(fix=options["fix"])
        if options["json"]:
            self.stdout.write(json.dumps({"differences": [asdict(one) for one in found]}, indent=2))
        else:
            self._print(found)
        if any(not one.fixed for one in found):
            sys.exit(1)

    def _print(self, found: list[Difference]) -> None:
        if not found:
            self.stdout.write("Every claim and every usage is what the instances say.")
            return
        rows = [HEADINGS, *(_cells(one) for one in found)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        for row in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        fixed = sum(one.fixed for one in found)
        self.stdout.write(f"{len(found)} differ" + (f", {fixed} set right." if fixed else "; --fix sets them right."))


def _cells(one: Difference) -> tuple[str, ...]:
    changed = f"{one.computed - one.recorded:+d}"
    return f"{one.kind} {one.name}", one.resource, str(one.recorded), str(one.computed), changed
