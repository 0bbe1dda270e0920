"""`manage.py document`: write the documents that are derived from the code."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from portal.setup.documents import DOCUMENTS


class Command(BaseCommand):
    """Writes docs/ and the README's table."""

    help = "Write the documents that are derived from the code."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Only what has changed."""
        for name, derive in DOCUMENTS.items():
            path = settings.BASE_DIR / name
            before = path.read_text() if path.exists() else ""
            if (after := derive(before)) != before:
                path.write_text(after)
                self.stdout.write(f"wrote {name}")
