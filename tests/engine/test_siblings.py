"""Instances asked for together: one pass places them all, whoever comes first, and whatever comes between."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from compute import reconciliation
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import Action, GroupPolicy, Host, HostState, Instance, ServerGroup
from compute.operations import OPERATIONS, siblings
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from compute.operations.worker import perform
from scheduler import pick
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hosts(cloud: Cloud) -> list[Host]:
    """Three hosts with room for two instances each."""
    cloud.host.delete()
    return [
        Host.objects.create(
            name=f"host-{number}", uri=f"fake://host-{uuid4().hex[:8]}", state=HostState.UP,
            vcpus=8, memory_mb=256, disk_gb=500, reserved_memory_mb=0, memory_ratio=1.0,
        )
        for number in (1, 2, 3)
    ]  # fmt: skip


def ask(persona: Persona, cloud: Cloud, count: int, least: int, **more: Any) -> list[Instance]:
    wanted = BootRequest(
        name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id), min_count=least, max_count=count, **more
    )
    return create(persona.actor, wanted)


def first_boot(instance: Instance) -> None:
    perform(Action.objects.get(instance=instance, operation="create").pk, "compute")


def states() -> list[str]:
    return sorted(Instance.objects.values_list("vm_state", flat=True))


def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many instances each scheduling pass was about."""
    sizes: list[int] = []
    real = pick.place_many

    def counted(requests: Any) -> Any:
        sizes.append(len(requests))
        return real(requests)

    monkeypatch.setattr(siblings, "place_many", counted)
    return sizes


def test_the_first_boot_places_them_all(
    alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any, monkeypatch: Any
) -> None:
    sizes = passes(monkeypatch)
    made = ask(alice, cloud, 5, 5)
    first_boot(made[2])
    rows = Instance.objects.exclude(host=None)
    assert rows.count() == 5
    assert all(action.progress["placement"]["chosen"] for action in Action.objects.all())
    assert reconciliation.differences() == []
    drain()
    assert (states(), sizes) == (["active"] * 5, [5])
    assert sorted(Host.objects.values_list("instances_used", flat=True)) == [1, 2, 2]
    assert reconciliation.differences() == []


def test_fewer_than_the_most_but_enough(alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any) -> None:
    ask(alice, cloud, 8, 4)
    drain()
    assert states() == ["active"] * 6 + ["error"] * 2
    fault = Instance.objects.filter(vm_state="error").first().faults.get()  # type: ignore[union-attr]  # there is one
    assert fault.message.startswith("No valid host was found")
    assert reconciliation.differences() == []


def test_fewer_than_the_least_is_none_at_all(alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any) -> None:
    ask(alice, cloud, 8, 7)
    drain()
    assert states() == ["error"] * 8
    assert {one.faults.get().message.partition(" Of ")[2] for one in Instance.objects.all()} == {
        "8 servers, 6 would fit; 7 are the least."
    }
    assert set(Host.objects.values_list("instances_used", flat=True)) == {0}
    assert not any(action.progress["placement"]["chosen"] for action in Action.objects.all())
    assert reconciliation.differences() == []


def test_siblings_are_kept_apart(alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any) -> None:
    group = ServerGroup.objects.create(name="apart", project=cloud.demo, policy=GroupPolicy.ANTI_AFFINITY)
    ask(alice, cloud, 4, 1, scheduler_hints={"group": str(group.id)})
    drain()
    assert states() == ["active"] * 3 + ["error"]
    assert set(Host.objects.values_list("instances_used", flat=True)) == {1}


def test_siblings_are_kept_together(alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any) -> None:
    group = ServerGroup.objects.create(name="close", project=cloud.demo, policy=GroupPolicy.AFFINITY)
    ask(alice, cloud, 2, 2, scheduler_hints={"group": str(group.id)})
    drain()
    assert states() == ["active"] * 2
    assert sorted(Host.objects.values_list("instances_used", flat=True)) == [0, 0, 2]


def test_a_sibling_that_is_deleted_meanwhile_is_left_out(
    alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any
) -> None:
    made = ask(alice, cloud, 3, 3)
    request(OPERATIONS["delete"], made[2], alice.actor)
    first_boot(made[0])
    assert Instance.objects.get(pk=made[2].pk).host is None
    drain()
    assert sorted(Instance.objects.values_list("vm_state", flat=True)) == ["deleted", "error", "error"]
    assert reconciliation.differences() == []


def test_a_sibling_that_was_placed_may_be_deleted_before_its_boot(
    alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any
) -> None:
    made = ask(alice, cloud, 3, 2)
    first_boot(made[0])
    request(OPERATIONS["delete"], made[2], alice.actor)
    drain()
    assert states() == ["active", "active", "deleted"]
    assert sum(Host.objects.values_list("instances_used", flat=True)) == 2
    assert reconciliation.differences() == []


def test_a_worker_that_dies_amid_the_pass_leaves_nothing(
    alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any, monkeypatch: Any
) -> None:
    made = ask(alice, cloud, 4, 4)

    class Killed(BaseException):
        """As a worker's death: nothing of ours handles it."""

    real, left = siblings._leave, []

    def die(*args: Any, **kwargs: Any) -> None:
        left.append(1)
        if len(left) == 3:
            raise Killed
        real(*args, **kwargs)

    monkeypatch.setattr(siblings, "_leave", die)
    with pytest.raises(Killed):
        first_boot(made[0])
    assert not Instance.objects.exclude(host=None).exists()
    assert reconciliation.differences() == []
    drain()
    assert states() == ["active"] * 4
    assert reconciliation.differences() == []


def test_a_host_that_fails_concerns_the_one_instance(
    alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any, monkeypatch: Any
) -> None:
    sizes = passes(monkeypatch)
    hypervisor_of(hosts[0]).inject(Fault("define", do="fail", times=99))  # type: ignore[attr-defined]  # it is a fake one
    ask(alice, cloud, 4, 4)
    drain()
    assert (states(), sizes) == (["active"] * 4, [4])
    assert Host.objects.get(name="host-1").instances_used == 0
    assert reconciliation.differences() == []


def test_boots_that_begin_at_once_make_one_pass(
    alice: Persona, cloud: Cloud, hosts: list[Host], drain: Any, monkeypatch: Any
) -> None:
    sizes = passes(monkeypatch)
    made = ask(alice, cloud, 6, 6)
    barrier = threading.Barrier(3)

    def run(instance: Instance) -> None:
        try:
            barrier.wait()
            first_boot(instance)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(one,)) for one in made[:3]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain()
    assert (states(), sizes) == (["active"] * 6, [6])
    assert reconciliation.differences() == []
