"""What a process that was killed in the middle of an upload or a conversion leaves behind, and its removal."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from compute.images import store
from compute.images.verbs import queue_again
from compute.models import Image, ImageStatus

# Whoever works on a file writes to it far more often.
ABANDONED_AFTER = timedelta(minutes=15)


def sweep() -> int:
    """Remove files that nobody writes any more, and queue their images again. Returns how many images.

    Whole files are left alone, even without a row: a database that was restored from a backup, or a store
    that was mounted too early, must not cost images.
    """
    oldest = time.time() - ABANDONED_AFTER.total_seconds()
    for path in Path(settings.IMAGE_STORE).glob("*.part"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
    abandoned = [
        image
        for image in Image.objects.filter(status=ImageStatus.SAVING, updated_at__lt=timezone.now() - ABANDONED_AFTER)
        if not store.is_being_written(image.id)
    ]
    for image in abandoned:
        queue_again(image, "The upload was broken off: the process that took the data died.")
    return len(abandoned)
