"""Two at the same instance, a database that is away, a host that is away for long: nothing is lost or doubled."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compute import quota
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.interface import Unreachable
from compute.models import Action, ActionState, Host, Instance
from compute.operations import OPERATIONS, boot, turns, worker
from compute.operations.boot import Boot
from compute.operations.create import BootRequest, create
from compute.operations.doorbell import UNTOUCHED, UNTOUCHED_WHILE_BUSY, sweep
from compute.operations.engine import request
from compute.operations.worker import perform


def booting(persona, cloud) -> Instance:
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id))
    return create(persona.actor, wanted)[0]


def test_an_operation_waits_for_its_host_until_its_limit_however_often_the_janitor_rings(
    cloud, alice, drain, monkeypatch
):
    instance = booting(alice, cloud)
    action = Action.objects.get()

    def away(*_: object) -> None:
        raise Unreachable("the host does not answer")

    hypervisor = type(hypervisor_of(cloud.host))
    with monkeypatch.context() as patched:
        patched.setattr(hypervisor, "ensure_network", away)
        patched.setattr(Boot, "try_again", lambda self, error: False)
        for _ in range(3 * worker.MAX_ATTEMPTS):
            perform(action.pk, "compute")
        action.refresh_from_db()
        assert (action.state, action.message) == ("running", "the host does not answer")
    drain()
    instance.refresh_from_db()
    assert instance.vm_state == "active"


@pytest.mark.parametrize("step", range(len(Boot.steps)))
def test_a_database_that_is_away_for_a_moment_fails_nothing(cloud, alice, drain, monkeypatch, step):
    instance = booting(alice, cloud)
    action = Action.objects.get()
    real, calls = turns._begin, []

    def begin(writes):
        calls.append(writes)
        if len(calls) == step + 1:
            raise OperationalError("deadlock detected")
        return real(writes)

    monkeypatch.setattr(turns, "_begin", begin)
    assert drain() > 1
    action.refresh_from_db()
    assert (action.state, action.lease_owner) == ("done", "")
    instance.refresh_from_db()
    assert (instance.vm_state, instance.task_state) == ("active", None)
    assert Host.objects.get().instances_used == 1


def test_a_worker_that_was_given_up_takes_no_claim(cloud, alice, drain, monkeypatch):
    """Its lease ran out while it slept; meanwhile the instance was deleted."""
    instance = booting(alice, cloud)
    action = Action.objects.get()
    real = boot.Request

    class Slow(real):
        @classmethod
        def of(cls, *args, **kwargs):
            wanted = real.of(*args, **kwargs)
            Action.objects.filter(pk=action.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
            request(OPERATIONS["delete"], instance, alice.actor)
            perform(Action.objects.get(operation="delete").pk, "compute")
            return wanted

    monkeypatch.setattr(boot, "Request", Slow)
    perform(action.pk, "compute")
    instance.refresh_from_db()
    assert instance.vm_state == "deleted"
    host = Host.objects.get()
    assert (host.instances_used, host.memory_mb_used) == (0, 0)
    assert quota.usage(cloud.demo.id)["instances"] == 0


def test_a_request_locks_the_actions_before_it_looks_at_the_instance(cloud, alice, drain):
    """As a worker that ends an operation does. The other way round PostgreSQL finds deadlocks between the two."""
    instance = booting(alice, cloud)
    with CaptureQueriesContext(connection) as queries:
        request(OPERATIONS["delete"], instance, alice.actor)
    touched = [one["sql"] for one in queries if "compute_action" in one["sql"] or "compute_instance" in one["sql"]]
    assert 'FROM "compute_action"' in touched[0]
    drain()
    instance.refresh_from_db()
    assert instance.vm_state == "deleted"
    assert Action.objects.get(operation="create").state == ActionState.CANCELLED


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite locks no rows")
def test_a_request_that_has_the_instance_waits_for_no_worker(cloud, alice, drain):
    """One that works for another request, which came first, has its action and waits for the instance."""
    instance = booting(alice, cloud)
    drain()
    instance.refresh_from_db()
    with CaptureQueriesContext(connection) as queries:
        request(OPERATIONS["stop"], instance, alice.actor)
    asked = [query["sql"] for query in queries.captured_queries]
    locks = [place for place, sql in enumerate(asked) if "FOR UPDATE" in sql and "compute_action" in sql]
    (taken,) = [place for place, sql in enumerate(asked) if sql.startswith('UPDATE "compute_instance"')]
    assert locks and max(locks) < taken


def test_an_operation_that_nobody_knows_here_keeps_the_janitor_from_no_other(cloud, alice, monkeypatch):
    first, second = booting(alice, cloud), booting(alice, cloud)
    Action.objects.filter(instance=first).update(operation="of_a_newer_version")
    Action.objects.update(updated_at=timezone.now() - 2 * UNTOUCHED)
    rung: list[int] = []
    monkeypatch.setattr("compute.operations.doorbell.ring", lambda number, *_: rung.append(number))
    assert sweep() == 1
    assert rung == [Action.objects.get(instance=second).pk]


def test_the_janitor_rings_for_nobody_who_waits_behind_other_bells(cloud, alice, monkeypatch):
    """Else a long queue would grow by itself. One that was begun, or has waited long, is rung for all the same."""
    fresh, begun, old = (booting(alice, cloud) for _ in range(3))
    Action.objects.update(updated_at=timezone.now() - 2 * UNTOUCHED)
    Action.objects.filter(instance=begun).update(attempts=1)
    Action.objects.filter(instance=old).update(updated_at=timezone.now() - 2 * UNTOUCHED_WHILE_BUSY)
    monkeypatch.setattr("compute.operations.doorbell._is_busy", lambda lane: True)
    assert sweep() == 2
    Action.objects.filter(instance__in=[begun, old]).update(updated_at=timezone.now())
    monkeypatch.setattr("compute.operations.doorbell._is_busy", lambda lane: False)
    assert sweep() == 1
    assert Action.objects.get(instance=fresh).updated_at > timezone.now() - UNTOUCHED


def test_two_deletions_of_one_instance_give_back_once(cloud, alice, drain):
    """On PostgreSQL two requests at once could each add a row; the second one finds nothing left to do."""
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id), min_count=2, max_count=2)
    gone, stays = create(alice.actor, wanted)
    drain()
    gone.refresh_from_db()
    first = request(OPERATIONS["delete"], gone, alice.actor)
    second = Action.objects.create(instance=gone, operation="delete", request_id="req-2", project_id=gone.project_id)
    drain()
    assert [Action.objects.get(pk=one.pk).state for one in (first, second)] == ["done", "cancelled"]
    assert Host.objects.get().instances_used == 1
    assert quota.usage(cloud.demo.id)["instances"] == 1
    stays.refresh_from_db()
    assert stays.vm_state == "active"
