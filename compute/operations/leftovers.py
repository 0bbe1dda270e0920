"""What lies on a host and nobody needs: found by the names of guests and volumes, removed by the watcher.

A deletion does not wait for a host that is down, a boot leaves a host that does not answer, a move may end
while the host that it left is away, and what a host was asked for may happen after everybody has given it up.
So each watch begins with a look for what is left of instances that are deleted or have moved on, and looks
again from time to time. Both hosts of a move that is not over are left alone, and so are volumes that
another host sees too and needs. A guest that is gone may have left its console log and its cards' addresses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from compute.hosts.storage import are_surely_apart, identify, may_share_storage
from compute.hypervisor.interface import Busy, Hypervisor
from compute.models import OPEN_MIGRATIONS, OPEN_STATES, Host, Instance, Migration, Network, Port
from compute.operations.guest import remove_guest
from compute.operations.layout import Layout

log = logging.getLogger(__name__)

Sees = Callable[[Host, Host], bool]


def remove(host: Host, hypervisor: Hypervisor, guests: Iterable[UUID], volumes: Iterable[str] = ()) -> None:
    """Remove what should not be among these guests and volumes of a host. Raises what the host raises."""
    here, names = set(guests), list(volumes)
    gone = set(departed(host, owners(names) | here))
    for instance_id in gone & here:
        if departed(host, {instance_id}):  # asked again: a request may have come since
            log.warning("host %s: removing the guest of %s, which is not there any more", host.name, instance_id)
            remove_guest(hypervisor, Instance.objects.get(pk=instance_id))
    for instance in _with_places(host, hypervisor, gone):
        _remove_volumes(host, hypervisor, instance)
    for volume in strays(host, names):
        if strays(host, [volume]):
            log.warning("host %s: removing volume %s, which nothing needs", host.name, volume)
            hypervisor.delete_volume(volume)


def remove_all(host: Host, hypervisor: Hypervisor, guests: Iterable[UUID]) -> None:
    """The same of all that a host has, besides these guests of ours: volumes, console logs and kept addresses."""
    remove(host, hypervisor, {*guests, *hypervisor.console_logs()}, hypervisor.volumes())
    for card in unneeded(host, hypervisor.reservations()):
        if unneeded(host, {card}):
            network, mac = card
            log.warning("host %s: no address is kept for %s any more, which is not here", host.name, mac)
            hypervisor.release(network, mac)


def unneeded(host: Host, cards: set[tuple[UUID, str]]) -> list[tuple[UUID, str]]:
    """Those of these cards (network and MAC) that no instance of this host has, on networks of ours."""
    ours = set(Network.objects.filter(pk__in={network for network, _ in cards}).values_list("pk", flat=True))
    ports = Port.objects.filter(mac__in=[mac for _, mac in cards]).exclude(instance=None)
    owner = {(network, mac): instance for network, mac, instance in ports.values_list("network", "mac", "instance")}
    gone = set(departed(host, {owner[card] for card in cards if card in owner}))
    return [card for card in cards if card[0] in ours and (card not in owner or owner[card] in gone)]


def _with_places(host: Host, hypervisor: Hypervisor, departed: set[UUID]) -> list[Instance]:
    """The departed, after a look at the host's storage: it may be another by now."""
    if not departed:
        return []
    try:
        identify(host, hypervisor)
    except Busy:
        return []  # the next look will tell
    return list(Instance.objects.filter(pk__in=departed).select_related("host"))


def _remove_volumes(host: Host, hypervisor: Hypervisor, instance: Instance) -> None:
    """Those of a departed instance that it does not need on another host, either; of a deleted one, all."""

    def sees(place: Host, here: Host) -> bool:
        return not are_surely_apart(here, place, instance.updated_at)

    for volume in set(hypervisor.volumes(prefix=str(instance.pk))) - needed_on(host, instance, sees):
        if not departed(host, {instance.pk}):
            return
        log.warning("host %s: removing volume %s, whose instance is not there any more", host.name, volume)
        hypervisor.delete_volume(volume)


def departed(host: Host, present: set[UUID]) -> list[UUID]:
    """Those of these instances whose guests have no business on a host.

    They were deleted, or belong to another host or to none, with nothing under way and no move to or from this
    host that is not over. Instances that this database does not know are another's.
    """
    gone = Q(deleted_at__lt=_settled())
    elsewhere = Q(pk__in=_at_rest().values("pk")) & (Q(host=None) | ~Q(host=host)) & ~Q(pk__in=_moving(host))
    return list(Instance.objects.filter(gone | elsewhere, pk__in=present).values_list("pk", flat=True))


def _moving(host: Host) -> QuerySet[Migration, UUID]:
    """The instances with a move to or from a host that is not over."""
    theirs = Q(source_host=host) | Q(dest_host=host)
    return Migration.objects.filter(theirs, status__in=OPEN_MIGRATIONS).values_list("instance", flat=True)


def strays(host: Host, volumes: Iterable[str]) -> list[str]:
    """Those of these volumes that belong to an instance which is here, at rest, and does not need them."""
    if not (named := list(volumes)):
        return []
    here = {instance.id: instance for instance in _at_rest().filter(pk__in=owners(named), host=host)}
    needed = {volume for instance in here.values() for volume in Layout.of(instance).volumes()}
    for migration in Migration.objects.filter(instance__in=here, status__in=OPEN_MIGRATIONS):
        old = Layout(migration.instance_id, migration.old_flavor, migration.old_volume_names)
        needed |= set(old.volumes())
    return [volume for volume in named if volume not in needed and owners([volume]) & here.keys()]


def needed_on(host: Host, instance: Instance, sees: Sees = may_share_storage) -> set[str]:
    """The volumes in the storage of this host that the instance needs where it is, or a migration of it does.

    ``sees`` says whether another host may see what this one sees.
    """
    if instance.deleted_at is not None:
        return set()
    layouts = [(instance.host, Layout.of(instance))]
    rows = Migration.objects.filter(instance=instance, status__in=OPEN_MIGRATIONS)
    for one in rows.select_related("source_host", "dest_host"):
        old = Layout(instance.id, one.old_flavor, one.old_volume_names)
        layouts += [(place, old) for place in (one.source_host, one.dest_host)]
    places = [(place, layout) for place, layout in layouts if place is not None]
    there = [layout for place, layout in places if sees(place, host)]
    return {volume for layout in there for volume in layout.volumes()}


def owners(volumes: Iterable[str]) -> set[UUID]:
    """The instances that these volumes are named after; others (images' bases) begin otherwise."""
    found = set()
    for name in volumes:
        with suppress(ValueError):
            found.add(UUID(name[:36]))
    return found


def _settled() -> datetime:
    """Nothing is a leftover whose instance has changed since."""
    return timezone.now() - timedelta(seconds=settings.STATE_SYNC_SECONDS)


def _at_rest() -> QuerySet[Instance]:
    """The living instances that nobody is at, and that nobody was at a moment ago."""
    settled = Instance.objects.alive().filter(task_state=None, updated_at__lt=_settled())
    return settled.exclude(actions__state__in=OPEN_STATES)
