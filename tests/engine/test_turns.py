"""Boots that wait together are worked on together: each has its own end, whatever becomes of the others."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compute import reconciliation
from compute.errors import ComputeError
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.hypervisor.interface import Unreachable
from compute.models import Action, Event, Host, Instance, Port, PortAddress
from compute.networks import addresses
from compute.operations import OPERATIONS, calls, disks, leases, turns
from compute.operations.boot import Boot
from compute.operations.cancellation import cancel_action
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from compute.operations.worker import perform
from portal.compiled import Rows
from tests.engine.test_kill import finish, perform_in_another_process

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = 6


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes all that wait, and no other has to have its share."""
    real = leases.take_more
    monkeypatch.setattr("compute.operations.worker.take_more", lambda *args: real(*args[:3], 1))


def booting(persona: Any, cloud: Any, count: int = COUNT, **changes: Any) -> list[Instance]:
    wanted = {"flavor_id": cloud.nano.id, "image_id": str(cloud.image.id), **changes}
    return [create(persona.actor, BootRequest(name=f"web-{number}", **wanted))[0] for number in range(count)]


def together(instances: list[Instance], lane: str = "compute") -> list[Instance]:
    """Work on the first of these, and see who was taken on with it."""
    perform(Action.objects.get(instance=instances[0]).pk, lane)
    return [action.instance for action in Action.objects.exclude(attempts=0).select_related("instance").order_by("id")]


@pytest.fixture
def ready(cloud: Any, alice: Any) -> None:
    """The image is on the host."""
    (first,) = booting(alice, cloud, 1)
    perform(Action.objects.get().pk, "transfer")
    request(OPERATIONS["delete"], first, alice.actor)
    perform(Action.objects.get(operation="delete").pk, "compute")
    Action.objects.all().delete()


def not_heard_of(*_: Any) -> None:
    raise OperationalError("server closed the connection unexpectedly")


def states() -> Counter[str]:
    return Counter(Instance.objects.alive().values_list("vm_state", flat=True))


def test_a_worker_takes_on_half_of_what_waits_and_leaves_the_rest(cloud, alice, ready) -> None:
    instances = booting(alice, cloud)
    assert together(instances) == instances[: 1 + (COUNT - 1) // 2]
    assert states() == {"active": 3, "building": 3}
    assert not Action.objects.exclude(lease_owner="").exists()
    for action in Action.objects.filter(state="done"):
        steps = action.events.all()
        assert [step.name for step in steps] == [step.name for step in Boot.steps]
        assert all(step.result == "Success" and step.finished_at >= step.started_at for step in steps)
        assert action.progress["placement"]["chosen"] == action.instance.host.name
    assert reconciliation.differences() == []


def test_what_stands_between_the_steps_is_written_once_for_all(cloud, alice, ready) -> None:
    alone = booting(alice, cloud, 1)
    with CaptureQueriesContext(connection) as one:
        together(alone)
    several = booting(alice, cloud)
    with CaptureQueriesContext(connection) as three:
        together(several)
    assert states()["active"] == 4

    def begun(queries: CaptureQueriesContext) -> int:
        return sum(query["sql"].startswith('INSERT INTO "compute_event"') for query in queries)

    assert begun(one) == begun(three)
    assert len(three) < 2 * len(one)


def test_in_another_lane_each_is_alone(cloud, alice) -> None:
    instances = booting(alice, cloud)
    assert together(instances, "transfer") == instances[:1]


def test_one_that_fails_concerns_no_other(cloud, alice, ready, monkeypatch) -> None:
    instances = booting(alice, cloud)
    real: Callable[..., None] = disks.create_root

    def create_root(hypervisor: Any, layout: Any, image: Any) -> None:
        if layout.instance_id == instances[1].pk:
            raise ComputeError("no room for this one")
        real(hypervisor, layout, image)

    monkeypatch.setattr(disks, "create_root", create_root)
    together(instances)
    assert states() == {"active": 2, "error": 1, "building": 3}
    failed = Action.objects.get(instance=instances[1])
    assert (failed.state, failed.message) == ("error", "no room for this one")
    assert Event.objects.get(action=failed, name="create_disks").result == "Error"
    assert reconciliation.differences() == []


def test_one_that_is_deleted_meanwhile_concerns_no_other(cloud, alice, ready, monkeypatch, drain) -> None:
    instances, rung = booting(alice, cloud), []
    real: Callable[..., None] = disks.create_root

    def create_root(hypervisor: Any, layout: Any, image: Any) -> None:
        if layout.instance_id == instances[0].pk:
            request(OPERATIONS["delete"], instances[1], alice.actor)
        real(hypervisor, layout, image)

    monkeypatch.setattr(disks, "create_root", create_root)
    monkeypatch.setattr("compute.operations.doorbell.async_task", lambda *args, **_: rung.append(args[1]))
    together(instances)
    assert Action.objects.get(operation="delete").pk in rung[1:], "its bell rings again when the boot has left"
    assert states() == {"active": 2, "building": 4}
    assert not Event.objects.filter(action__instance=instances[1], name="spawn").exists()
    drain()
    assert states() == {"active": COUNT - 1}
    assert sorted(hypervisor_of(cloud.host).guests()) == sorted(Instance.objects.alive().values_list("pk", flat=True))
    assert reconciliation.differences() == []


@pytest.mark.parametrize("verb", ["delete", "cancel"])
def test_one_whose_end_is_asked_for_in_the_last_step_does_not_become_active(
    cloud, alice, ready, monkeypatch, drain, verb: str
) -> None:
    instances, real = booting(alice, cloud), Boot.outcome

    def outcome(self: Boot) -> dict[str, Any]:
        if self.instance.pk == instances[0].pk:
            if verb == "delete":
                request(OPERATIONS["delete"], instances[1], alice.actor)
            else:
                cancel_action(alice.actor, instances[1], Action.objects.get(instance=instances[1]).request_id)
        return real(self)

    monkeypatch.setattr(Boot, "outcome", outcome)
    together(instances)
    one = Instance.objects.get(pk=instances[1].pk)
    shown = ("building", "deleting") if verb == "delete" else ("error", None)
    assert (one.vm_state, one.task_state) == shown
    assert Action.objects.get(instance=one, operation="create").state == "cancelled"
    assert states()["active"] == 2
    drain()
    assert sorted(hypervisor_of(cloud.host).guests()) == sorted(
        Instance.objects.filter(vm_state="active").values_list("pk", flat=True)
    )
    assert reconciliation.differences() == []


def test_one_that_another_worker_has_taken_over_is_not_placed(cloud, alice, ready, monkeypatch) -> None:
    instances = booting(alice, cloud)

    def place_ahead(boots: Any) -> None:
        Action.objects.filter(instance=instances[1]).update(lease_owner="another")
        Boot.place_ahead(boots)

    monkeypatch.setattr(Boot, "steps", (replace(Boot.steps[0], ahead=place_ahead), *Boot.steps[1:]))
    together(instances)
    assert states() == {"active": 2, "building": 4}
    one = Instance.objects.get(pk=instances[1].pk)
    cloud.host.refresh_from_db()
    assert (one.host, cloud.host.instances_used) == (None, 2)
    assert Action.objects.get(instance=one).lease_owner == "another"


def test_one_that_is_gone_at_the_end_is_not_brought_back(cloud, alice, ready, monkeypatch, drain) -> None:
    instances, real = booting(alice, cloud), Boot.outcome

    def outcome(self: Boot) -> dict[str, Any]:
        if self.instance.pk == instances[0].pk:
            Instance.objects.filter(pk=instances[1].pk).update(deleted_at=timezone.now(), vm_state="deleted")
        return real(self)

    monkeypatch.setattr(Boot, "outcome", outcome)
    together(instances)
    assert states() == {"active": 2, "building": 3}
    assert Instance.objects.get(pk=instances[1].pk).vm_state == "deleted"
    drain()
    assert Action.objects.get(instance=instances[1]).state == "cancelled"


def test_one_that_waits_for_the_database_is_not_rung_for_at_once(cloud, alice, ready, monkeypatch) -> None:
    instances, rung, real = booting(alice, cloud), [], turns.write_together

    def write_together(writes: Any) -> None:
        if writes[0].operation.instance.pk == instances[1].pk and writes[0].step is Boot.steps[1]:
            raise OperationalError("deadlock detected")
        if len(writes) > 1 and writes[0].operation.instance.pk == instances[0].pk:
            raise OperationalError("deadlock detected")
        real(writes)

    monkeypatch.setattr(turns, "write_together", write_together)
    monkeypatch.setattr("compute.operations.doorbell.async_task", lambda *args, **_: rung.append(args[1]))
    together(instances)
    assert states() == {"active": 2, "building": 4}
    one = Action.objects.get(instance=instances[1])
    assert (one.state, one.lease_owner, rung) == ("running", "", [])


def test_what_nobody_expected_of_one_is_raised_when_the_others_have_ended(cloud, alice, ready, monkeypatch) -> None:
    instances, real = booting(alice, cloud), Boot.outcome

    def outcome(self: Boot) -> dict[str, Any]:
        if self.instance.pk == instances[1].pk:
            monkeypatch.setattr("compute.operations.worker._after_failure", lambda *_: 1 // 0)
            raise ComputeError("not this one")
        return real(self)

    monkeypatch.setattr(Boot, "outcome", outcome)
    with pytest.raises(ZeroDivisionError):
        together(instances)
    assert states() == {"active": 2, "building": 4}
    assert (Action.objects.get(instance=instances[1]).lease_owner, leases.keeper._leases) == ("", [])


def test_those_that_wait_for_one_keep_their_leases(cloud, alice, ready, monkeypatch, settings) -> None:
    settings.LEASE_SECONDS = 3.0
    instances, real = booting(alice, cloud), disks.create_root

    def untils() -> list[Any]:
        return list(Action.objects.exclude(lease_owner="").order_by("id").values_list("lease_until", flat=True))

    def create_root(hypervisor: Any, layout: Any, image: Any) -> None:
        if layout.instance_id == instances[0].pk:
            before, deadline = untils(), time.monotonic() + 60
            assert len(before) == 3
            while any(one == now for one, now in zip(before, untils(), strict=True)):
                assert time.monotonic() < deadline, "nobody renews them"
                time.sleep(0.1)
        real(hypervisor, layout, image)

    monkeypatch.setattr(disks, "create_root", create_root)
    together(instances)
    assert states() == {"active": 3, "building": 3}


def test_those_that_fit_nowhere_say_so_and_the_others_are_built(cloud, alice, ready) -> None:
    cloud.host.memory_mb, cloud.host.reserved_memory_mb, cloud.host.memory_ratio = 2 * cloud.nano.memory_mb, 0, 1.0
    cloud.host.save()
    together(booting(alice, cloud))
    assert states() == {"active": 2, "error": 1, "building": 3}
    assert Action.objects.get(state="error").message.startswith("No valid host")


def test_what_cannot_be_written_together_is_written_for_each(cloud, alice, ready, monkeypatch) -> None:
    real = turns.write_together

    def write_together(writes: Any) -> None:
        real(writes)
        if len(writes) > 1:
            raise OperationalError("deadlock detected")

    monkeypatch.setattr(turns, "write_together", write_together)
    together(booting(alice, cloud))
    assert states() == {"active": 3, "building": 3}


def test_one_that_is_slow_goes_on_when_the_others_have_ended(cloud, alice, ready, monkeypatch) -> None:
    instances, ended = booting(alice, cloud), []
    monkeypatch.setattr(turns, "SLOW_SECONDS", 3600.0)
    began, real = turns.Turn.go_on, Boot.completed_together

    def go_on(self: turns.Turn, error: Exception | None = None) -> None:
        began(self, error)
        self.slow = self.operation.instance.pk == instances[0].pk

    monkeypatch.setattr(turns.Turn, "go_on", go_on)

    def completed_together(boots: Any) -> None:
        ended.extend(boot.instance.pk for boot in boots)
        real(boots)

    monkeypatch.setattr(Boot, "completed_together", completed_together)
    together(instances)
    assert ended == [instances[1].pk, instances[2].pk, instances[0].pk]


@pytest.mark.parametrize("verb", ["ensure_network", "define"])
def test_all_outlive_their_worker(cloud, alice, ready, settings, tmp_path: Path, verb: str) -> None:
    settings.LEASE_SECONDS = 0.6
    cloud.host.uri = f"fake://{tmp_path}/host.sqlite3?host=shared"
    cloud.host.save()
    (first,) = booting(alice, cloud, 1)
    perform(Action.objects.get().pk, "transfer")
    instances = booting(alice, cloud)
    hypervisor_of(cloud.host).inject(Fault(verb, do="kill", when="after"))
    assert perform_in_another_process(Action.objects.get(instance=instances[0])) == signal.SIGKILL
    for instance in instances:
        finish(instance)
        assert (instance.vm_state, instance.task_state) == ("active", None)
    assert sorted(hypervisor_of(cloud.host).guests()) == sorted([first.pk, *(one.pk for one in instances)])
    assert reconciliation.differences() == []


def test_what_the_database_does_not_hear_of_is_kept_by_nobody(cloud, alice, ready, monkeypatch) -> None:
    instances, real = booting(alice, cloud), turns.write_together

    def write_together(writes: Any) -> None:
        if getattr(writes[0], "step", None) is Boot.steps[1]:
            not_heard_of()
        real(writes)

    with monkeypatch.context() as away:
        away.setattr(turns, "write_together", write_together)
        away.setattr(leases.Lease, "release", not_heard_of)
        together(instances)
    assert leases.keeper._leases == []
    assert Action.objects.exclude(lease_owner="").count() == 3
    Action.objects.exclude(lease_owner="").update(lease_until="2020-01-01T00:00:00Z")
    for instance in instances:
        finish(instance)
    assert states() == {"active": COUNT}
    assert reconciliation.differences() == []


def test_a_step_asks_again_when_those_before_it_took_long(cloud, alice, ready, monkeypatch, drain) -> None:
    instances, late = booting(alice, cloud), leases.clock
    real: Callable[..., None] = disks.create_root
    built: list[Any] = []

    def create_root(hypervisor: Any, layout: Any, image: Any) -> None:
        built.append(layout.instance_id)
        real(hypervisor, layout, image)
        if layout.instance_id == instances[0].pk:
            request(OPERATIONS["delete"], instances[1], alice.actor)
            monkeypatch.setattr("compute.operations.journal.clock", lambda: late() + 10)

    monkeypatch.setattr(disks, "create_root", create_root)
    together(instances)
    assert built == [instances[0].pk, instances[2].pk]
    assert Event.objects.get(action__instance=instances[1], name="create_disks").message == "stopped here"
    drain()
    assert states() == {"active": COUNT - 1}
    assert reconciliation.differences() == []


def all_slow(monkeypatch: pytest.MonkeyPatch, from_step: str) -> None:
    """From this step on each that is built is slow."""
    began = turns.Turn.go_on

    def go_on(self: turns.Turn, error: Exception | None = None) -> None:
        step = getattr(self.write, "step", None)
        began(self, error)
        self.slow = self.slow or (step is not None and step.name == from_step)

    monkeypatch.setattr(turns, "SLOW_SECONDS", 3600.0)
    monkeypatch.setattr(turns.Turn, "go_on", go_on)


def test_a_slow_one_that_is_deleted_while_another_is_at_work_leaves_at_once(cloud, alice, ready, monkeypatch) -> None:
    instances = booting(alice, cloud)
    all_slow(monkeypatch, "fetch_image")
    left: list[Any] = []
    real_leave, real_root = turns.Turn.leave, disks.create_root

    def create_root(hypervisor: Any, layout: Any, image: Any) -> None:
        if layout.instance_id == instances[0].pk:
            request(OPERATIONS["delete"], instances[2], alice.actor)
        real_root(hypervisor, layout, image)

    monkeypatch.setattr(disks, "create_root", create_root)
    monkeypatch.setattr(turns.Turn, "leave", lambda self: (left.append(self.operation.instance), real_leave(self))[1])
    together(instances)
    assert left == [instances[2], instances[0], instances[1]]


def test_slow_ones_are_told_of_as_soon_as_they_have_ended(cloud, alice, ready, monkeypatch) -> None:
    instances, seen = booting(alice, cloud), []
    all_slow(monkeypatch, "spawn")
    real = turns._next

    def looked(waiting: list[turns.Turn]) -> list[list[turns.Turn]]:
        found = real(waiting)
        if any(turn.slow for turn in waiting):
            seen.append([len(one) for one in found])
        return found

    monkeypatch.setattr(turns, "_next", looked)
    together(instances)
    assert seen == [[3]]


def test_a_placement_that_was_committed_and_not_heard_of_is_found(cloud, alice, ready, monkeypatch) -> None:
    def place_ahead(boots: Any) -> None:
        Boot.place_ahead(boots)
        for boot in boots:  # as they were before
            boot.instance.host, boot.action.progress = None, {}
        not_heard_of()

    monkeypatch.setattr(Boot, "steps", (replace(Boot.steps[0], ahead=place_ahead), *Boot.steps[1:]))
    together(booting(alice, cloud))
    assert states()["active"] == 3
    assert all(one.progress["placement"]["chosen"] for one in Action.objects.filter(state="done"))
    cloud.host.refresh_from_db()
    assert cloud.host.instances_used == 3
    assert reconciliation.differences() == []


def test_addresses_that_were_committed_and_not_heard_of_are_found(cloud, alice, ready, monkeypatch) -> None:
    real = addresses.allocate_next

    def allocate_next(ports: Any) -> None:
        again = Port.objects.filter(pk__in=[port.pk for port in ports])
        real(again.select_related("network").prefetch_related("addresses", "network__subnets"))
        not_heard_of()

    monkeypatch.setattr(addresses, "allocate_next", allocate_next)
    together(booting(alice, cloud))
    assert states()["active"] == 3
    assert PortAddress.objects.count() == 3


def test_a_lease_is_no_longer_than_its_row_says(cloud, alice, monkeypatch) -> None:
    instances = booting(alice, cloud)
    slept: list[float] = []
    real, real_clock = Rows.update, leases.clock

    def update(self: Any, *args: Any, **values: Any) -> int:
        found = real(self, *args, **values)
        slept.append(leases.settings.LEASE_SECONDS + 1)
        return found

    monkeypatch.setattr(Rows, "update", update)
    monkeypatch.setattr(leases, "clock", lambda: real_clock() + sum(slept))
    lease = leases.take(Action.objects.get(instance=instances[0]).pk)
    assert lease is not None
    assert lease.lapsed()


def test_what_the_watcher_says_of_their_hosts_is_asked_once_for_all(cloud, alice, ready, monkeypatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(calls, "check_answers", lambda host_id, *_: asked.append(host_id))
    monkeypatch.setattr(calls, "BELIEVED_SECONDS", 3600.0)
    together(booting(alice, cloud))
    assert (states()["active"], asked) == (3, [])


@pytest.mark.parametrize("trouble", [{"silent_since": timezone.now()}, {"forced_down": True}, {"state": "down"}])
def test_a_host_that_does_not_answer_is_told_of_by_the_first_call_to_it(cloud, alice, ready, trouble) -> None:
    boots = [Boot(one.actions.get(), one, cast(Any, None), "compute") for one in booting(alice, cloud, 2)]
    Host.objects.update(**trouble)
    calls.Calls.ask_ahead((boot.calls, cloud.host) for boot in boots)
    for boot in boots:
        with pytest.raises(Unreachable):
            boot.calls.make(cloud.host, "guests")
