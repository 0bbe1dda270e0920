"""Taking networks off the hosts: what was deleted from the rows goes from each host before it matters there.

A host that is away keeps its network until it is back. A new network may have the range of an old one,
and a network may get another subnet, so whoever brings a network to a host calls ``clear`` first.
"""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from compute.hypervisor.interface import Busy, Hypervisor
from compute.models import Host, NetworkRemoval
from portal.compiled import Rows, given

# A remover that died is given up after this long. It is longer than a host takes to remove a network.
TAKEN_FOR = timedelta(seconds=60)
WAIT_SECONDS = 15.0
POLL_SECONDS = 0.1


_DUE = Rows(lambda: NetworkRemoval.objects.filter(**given(NetworkRemoval, "host")))
_ANY_DUE = Rows(lambda: NetworkRemoval.objects.filter(**given(NetworkRemoval, "host")).values_list("pk")[:1])


def schedule(network_id: UUID) -> None:
    """The network is to go from every host. Call it in the transaction that takes it out of the rows."""
    for host in Host.objects.all():
        NetworkRemoval.objects.get_or_create(host=host, network_id=network_id)


def are_pending(network_id: UUID) -> bool:
    """Whether some host may still have it."""
    return NetworkRemoval.objects.filter(network_id=network_id).exists()


def remove_due(host: Host, hypervisor: Hypervisor) -> int:
    """Remove what is to go from this host and nobody else is at. Returns how many. Raises HypervisorError."""
    return sum(_remove(one, hypervisor) for one in _DUE.all(host=host))


def clear(host: Host, hypervisor: Hypervisor) -> None:
    """Remove what is to go from this host, and wait for what somebody else is removing. Raises HypervisorError."""
    deadline = time.monotonic() + WAIT_SECONDS
    while _ANY_DUE.exist(host=host):
        if not remove_due(host, hypervisor):
            if time.monotonic() > deadline:
                raise Busy("A network that was deleted is still being taken off the host.")
            time.sleep(POLL_SECONDS)


def _remove(one: NetworkRemoval, hypervisor: Hypervisor) -> bool:
    """Whether it was ours to remove: only who has taken the row touches the network."""
    now = timezone.now()
    free = NetworkRemoval.objects.filter(Q(taken_until=None) | Q(taken_until__lt=now), pk=one.pk)
    if not free.update(taken_until=now + TAKEN_FOR):
        return False
    try:
        hypervisor.remove_network(one.network_id)
    except BaseException:
        NetworkRemoval.objects.filter(pk=one.pk).update(taken_until=None)
        raise
    NetworkRemoval.objects.filter(pk=one.pk).delete()
    return True
