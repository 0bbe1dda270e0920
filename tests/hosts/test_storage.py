"""Storage that hosts have in common: who sees what, and what is left alone because another host needs it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from compute.hosts.connections import hypervisor_of
from compute.hosts.registration import learn
from compute.hosts.storage import are_surely_apart, identify, shares_storage
from compute.hosts.watch import HostWatch
from compute.hypervisor.interface import NetworkSpec, Reservation
from compute.models import Host, HostState, Instance, Migration
from compute.operations import leftovers
from compute.operations.create import BootRequest, create
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = timedelta(hours=1)


@pytest.fixture
def hosts(cloud: Cloud, tmp_path: Path) -> list[Host]:
    """Two with their storage in common, and one with its own."""
    made = [cloud.host, *(Host(name=f"host-{number}", vcpus=8, memory_mb=32_768, disk_gb=500) for number in (2, 3))]
    for host, storage in zip(made, ("&storage=one", "&storage=one", ""), strict=True):
        host.uri, host.state = f"fake://{tmp_path}/hosts.sqlite3?host={host.name}{storage}", HostState.UP
        host.save()
        learn(host)
    return made


@pytest.fixture
def instance(cloud: Cloud, hosts: list[Host], alice: Persona, drain: Any) -> Instance:
    """One on the first host, which nobody has touched for a while."""
    Host.objects.exclude(pk=hosts[0].pk).update(enabled=False)
    (made,) = create(alice.actor, BootRequest(name="web", flavor_id="42", image_id=str(cloud.image.id)))
    drain()
    Host.objects.update(enabled=True)
    Instance.objects.update(updated_at=timezone.now() - LONG_AGO)
    made.refresh_from_db()
    assert made.host == hosts[0]
    return made


def look(host: Host) -> None:
    HostWatch(host)._sync(hypervisor_of(host), at_start=True)


def volumes(host: Host, instance: Instance) -> set[str]:
    return set(hypervisor_of(host).volumes(prefix=str(instance.id)))


def migration(instance: Instance, source: Host, target: Host, **fields: Any) -> Migration:
    return Migration.objects.create(
        instance=instance, source_host=source, dest_host=target, old_flavor=instance.flavor,
        new_flavor=instance.flavor, old_vm_state="active", **fields,
    )  # fmt: skip


def test_hosts_that_see_the_same_say_so(hosts: list[Host]) -> None:
    first, second, third = hosts
    assert shares_storage(first, second) and shares_storage(second, first) and shares_storage(third, third)
    assert not shares_storage(first, third)
    unknown = Host.objects.create(name="new", uri="fake://new")
    assert not shares_storage(unknown, first) and not shares_storage(unknown, Host(name="other"))


def test_apart_is_only_who_was_seen_to_be_since(hosts: list[Host]) -> None:
    first, second, third = hosts
    past, future = timezone.now() - LONG_AGO, timezone.now() + LONG_AGO
    assert are_surely_apart(first, third, past)
    assert not are_surely_apart(third, first, past)  # the first was looked at before the third became what it is
    identify(first, hypervisor_of(first))
    assert are_surely_apart(third, first, past)
    assert not are_surely_apart(third, first, future)
    assert not are_surely_apart(first, second, past) and not are_surely_apart(first, first, past)
    unknown = Host.objects.create(name="new", uri="fake://new")
    assert not are_surely_apart(first, unknown, past) and not are_surely_apart(unknown, first, past)


def test_a_marker_that_was_lost_costs_nobody_a_disk(hosts: list[Host], instance: Instance) -> None:
    """The one host makes a new marker, and the other has not seen it yet."""
    first, second, _ = hosts
    before = volumes(first, instance)
    Host.objects.filter(pk=first.pk).update(storage_id="the old one")
    Host.objects.filter(pk=second.pk).update(storage_id="the old one")
    for _ in range(2):
        look(second)
        assert volumes(first, instance) == before
    look(first)
    look(second)
    assert volumes(first, instance) == before


def test_storage_that_has_changed_is_noticed_by_the_next_look(hosts: list[Host], tmp_path: Path) -> None:
    third = hosts[2]
    Host.objects.filter(pk=third.pk).update(storage_id="what it was")
    look(third)
    third.refresh_from_db()
    assert third.storage_id == hypervisor_of(third).storage_id()
    before = Host.objects.get(pk=third.pk)
    identify(third, hypervisor_of(third))
    after = Host.objects.get(pk=third.pk)
    assert (after.updated_at, after.storage_since) == (before.updated_at, before.storage_since)
    assert before.storage_seen_at is not None and after.storage_seen_at > before.storage_seen_at


def test_volumes_of_an_instance_on_another_host_with_the_same_storage_stay(
    hosts: list[Host], instance: Instance
) -> None:
    first, second, third = hosts
    before = volumes(first, instance)
    assert before and volumes(second, instance) == before
    assert leftovers.departed(second, {instance.id}) == [instance.id]
    hypervisor_of(second).create_volume(f"{instance.id}-root-7", 512)  # of an operation that was given up
    for host in (second, third):
        look(host)
    assert volumes(first, instance) == before
    assert hypervisor_of(first).guest(instance.id) is not None


def test_a_guest_that_was_left_there_goes_all_the_same(hosts: list[Host], instance: Instance) -> None:
    from compute.operations.guest import guest_of

    first, second, _ = hosts
    before = volumes(first, instance)
    hypervisor_of(second).define(guest_of(instance))
    look(second)
    assert hypervisor_of(second).guests() == {}
    assert volumes(first, instance) == before


def test_what_was_left_on_storage_of_its_own_goes(hosts: list[Host], instance: Instance) -> None:
    third = hosts[2]
    hypervisor_of(third).create_volume(f"{instance.id}-root", 512)
    look(third)
    assert volumes(third, instance)  # the first was not looked at since
    look(hosts[0])
    look(third)
    assert volumes(third, instance) == set()
    assert volumes(hosts[0], instance)


def test_storage_is_looked_at_before_anything_is_deleted_there(hosts: list[Host], instance: Instance) -> None:
    first, second, _ = hosts
    before = volumes(first, instance)
    Host.objects.filter(pk=second.pk).update(storage_id="what it was")
    leftovers.remove(Host.objects.get(pk=second.pk), hypervisor_of(second), [], before)
    assert volumes(first, instance) == before


def test_an_address_is_kept_only_where_its_card_is(hosts: list[Host], instance: Instance) -> None:
    first, _, third = hosts
    port, foreign = instance.ports.get(), uuid4()
    spec = NetworkSpec(port.network_id, "10.77.0.0/20", "10.77.0.1")
    card, gone = (port.network_id, port.mac), (port.network_id, "fa:16:3f:00:00:01")
    for host in hosts:
        hypervisor_of(host).ensure_network(
            spec, [Reservation(port.mac, "10.77.0.9"), Reservation(gone[1], "10.77.0.8")]
        )
        hypervisor_of(host).ensure_network(replace(spec, uuid=foreign), [Reservation(gone[1], "10.77.0.8")])
    migration(instance, first, third, status="running")
    for host in hosts:
        look(host)
        assert gone not in hypervisor_of(host).reservations()
        assert (foreign, gone[1]) in hypervisor_of(host).reservations()  # no network of ours
    assert [card in hypervisor_of(host).reservations() for host in hosts] == [True, False, True]
    Migration.objects.update(status="completed")
    for host in hosts:
        look(host)
    assert [card in hypervisor_of(host).reservations() for host in hosts] == [True, False, False]


@pytest.mark.parametrize("status", ["migrating", "finished", "running", "confirming"])
def test_neither_host_of_a_move_that_is_not_over_is_touched(hosts: list[Host], instance: Instance, status: str) -> None:
    first, second, third = hosts
    hypervisor_of(third).create_volume(f"{instance.id}-root", 512)
    migration(instance, first, third, status=status)
    look(third)
    assert volumes(third, instance)
    Instance.objects.update(host=third)  # it has arrived, and may be taken back
    before = volumes(first, instance)
    for host in (first, second, third):
        look(host)
    assert volumes(first, instance) == before
    assert hypervisor_of(first).guest(instance.id) is not None
    Migration.objects.update(status="confirmed")
    Instance.objects.update(updated_at=timezone.now() - LONG_AGO)
    look(third)
    look(first)
    assert volumes(first, instance) == set()
    assert hypervisor_of(first).guest(instance.id) is None
    assert volumes(third, instance) == {f"{instance.id}-root"}


def test_what_is_deleted_goes_from_wherever_it_is_seen(hosts: list[Host], instance: Instance) -> None:
    Instance.objects.update(vm_state="deleted", deleted_at=timezone.now() - LONG_AGO)
    look(hosts[1])
    assert volumes(hosts[0], instance) == set()


def test_what_nobody_knows_is_left_alone(hosts: list[Host]) -> None:
    stranger = UUID(int=5)
    hypervisor_of(hosts[2]).create_volume(f"{stranger}-root", 512)
    look(hosts[2])
    assert hypervisor_of(hosts[2]).volumes() == {f"{stranger}-root": 512}
