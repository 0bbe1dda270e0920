"""Taking a host out of the cloud: the rows go, and the machine is left as it is."""

from __future__ import annotations

import logging

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from compute.errors import Conflict
from compute.hosts.connections import forget
from compute.models import OPEN_MIGRATIONS, Host, Instance, Migration, announce
from portal.identity.actor import Actor
from portal.identity.policy import enforce

log = logging.getLogger(__name__)

NAMED = 5  # instances in a refusal


def remove_host(actor: Actor, host: Host) -> None:
    """Forget a host on which no instance is, and which none is on its way to or from.

    What Nacelle made there (its storage pool, its networks) stays, and so does whatever runs there that is not
    Nacelle's. Raises Conflict, which says what is still there.
    """
    enforce(actor, "nacelle:host-remove")
    with transaction.atomic():
        # From here on no claim can be taken on the row: whoever takes one writes to it, too.
        Host.objects.filter(pk=host.pk).update(updated_at=timezone.now())
        if why := refusal(host):
            raise Conflict(why)
        Instance.objects.filter(host=host).update(host=None)  # deleted ones, which are history
        Host.objects.filter(pk=host.pk).delete()
        announce("host", host.pk)
    forget(host)
    log.info("removed host %s at %s", host.name, host.uri)


def refusal(host: Host) -> str:
    """Why a host cannot be removed now: what is on it; empty when it can. Three queries at the most."""
    on_it = Instance.objects.alive().filter(host=host).order_by("name", "id")
    if count := on_it.count():
        names = ", ".join(on_it.values_list("name", flat=True)[:NAMED])
        more = f" and {count - NAMED} more" if count > NAMED else ""
        return (
            f"{host.name} is hosting {count} instance{'s' if count > 1 else ''}: {names}{more}. "
            "Migrate or delete them first."
        )
    moving = Migration.objects.filter(Q(source_host=host) | Q(dest_host=host), status__in=OPEN_MIGRATIONS)
    if count := moving.count():
        return (
            f"{host.name} has {count} migration{'s' if count > 1 else ''} in progress, from or to it. "
            "Let them end, or delete the instances, first."
        )
    return ""
