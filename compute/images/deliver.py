"""Bringing images to hosts ahead of the boots that need them, so that those do not wait for a copy.

Each image for each host is a row (``ImageDelivery``) until it is there. Whoever works on one keeps it for
``HELD``; a worker that dies costs that time, as the copy is done again by another and never half.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django_q.tasks import async_task

from compute.errors import ComputeError, Invalid, NotFound
from compute.hosts.calls import Call
from compute.hosts.connections import hypervisor_of
from compute.hosts.liveness import check_answers
from compute.hypervisor.interface import HypervisorError
from compute.images import store
from compute.models import Aggregate, Host, Image, ImageDelivery, ImageStatus, announce
from portal.compiled import Rows, moment
from portal.identity.actor import Actor
from portal.identity.policy import enforce

log = logging.getLogger(__name__)

RULE = "compute:aggregates:images"
HELD = timedelta(minutes=30)
LIMIT = timedelta(hours=6)
# A host that is busy with the copy may be silent for so long.
PATIENCE = timedelta(seconds=20)
# After a failure it is tried again, each time twice as long after; the last one gives up.
FIRST_PAUSE = timedelta(minutes=1)
MOST_TRIES = 6


def deliver(actor: Actor, aggregate: Aggregate, *, image_ids: Iterable[UUID]) -> None:
    """Bring images to all hosts of an aggregate (Nova's image pre-caching). Raises NotFound and Invalid."""
    enforce(actor, RULE)
    images = [_usable(actor, key) for key in image_ids]
    with transaction.atomic():
        hosts = list(aggregate.hosts.all())
        rows = [ImageDelivery(host=host, image=image) for host in hosts for image in images]
        ImageDelivery.objects.bulk_create(rows, ignore_conflicts=True)
        for host in hosts:
            announce("host", host.pk)
        transaction.on_commit(sweep)


def _usable(actor: Actor, key: UUID) -> Image:
    image = Image.objects.visible_to(actor).filter(pk=key).first()
    if image is None:
        raise NotFound(f"Image {key} could not be found.")
    if image.status != ImageStatus.ACTIVE:
        raise Invalid(f"Image {key} is not active.", about="image")
    if refusal := store.not_bootable(image):
        raise Invalid(refusal, about="image")
    return image


_DUE = Rows(lambda: ImageDelivery.objects.filter(next_at__lte=moment("now")).values_list("pk", flat=True)[:100])


def sweep() -> int:
    """Ring for what nobody is at. Returns how many; a queue that does not answer is asked again at the next sweep."""
    now = timezone.now()
    waiting = _DUE.all(now=now)
    for key in waiting:
        # Rung once: whoever answers takes it, and if nobody does it is rung again.
        ImageDelivery.objects.filter(pk=key, next_at__lte=now).update(next_at=now + FIRST_PAUSE)
        try:
            async_task("compute.tasks.deliver_image", key, cluster="transfer")
        except Exception:
            log.exception("the queue does not answer; image delivery %s waits", key)
    return len(waiting)


def work(delivery_id: int) -> None:
    """Bring one image to one host. Delivered twice, it does no harm."""
    row = ImageDelivery.objects.select_related("host", "image").filter(pk=delivery_id).first()
    if row is None:
        return
    image = row.image
    ImageDelivery.objects.filter(pk=row.pk).update(next_at=timezone.now() + HELD)
    try:
        _bring(row.host, image)
    except TimeoutError:
        _failed(row, f"The host did not take it within {LIMIT}.")
    except (HypervisorError, ComputeError, OSError) as error:
        _failed(row, str(error))
    else:
        _end(row)


def _bring(host: Host, image: Image) -> None:
    """A host that falls silent over it must not hold up the lane: whoever waits goes on without it."""
    arguments = (image.base_volume, store.raw_size(image), lambda: store.open_raw(image))
    check_answers(host.pk)
    call = Call(
        functools.partial(hypervisor_of(host).ensure_base, *arguments),
        still=lambda: check_answers(host.pk, PATIENCE.total_seconds()),
    )
    call.result(LIMIT.total_seconds())


def _failed(row: ImageDelivery, why: str) -> None:
    log.warning("image %s could not be brought to the host %s: %s", row.image_id, row.host.name, why)
    if row.tries + 1 >= MOST_TRIES:
        _end(row)
        return
    pause = FIRST_PAUSE * 2**row.tries
    with transaction.atomic():
        ImageDelivery.objects.filter(pk=row.pk).update(
            tries=row.tries + 1, message=why[:1000], next_at=timezone.now() + pause
        )
        announce("host", row.host_id)


def _end(row: ImageDelivery) -> None:
    with transaction.atomic():
        ImageDelivery.objects.filter(pk=row.pk).delete()
        announce("host", row.host_id)
