"""Schedules: due runs are taken once, missed ones made up for once, and only their own snapshots go."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from compute import errors
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import Action, Image, Instance, Snapshot, SnapshotSchedule
from compute.operations import schedules
from portal.identity.models import Assignment, Project, User
from portal.identity.policy import Forbidden
from tests.engine.matrix import assert_gone, boot, do, finish, shared_host
from tests.engine.test_in_place import act_of, now, take

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The time that schedules see; ``clock.now`` is set by the test."""

    class Clock:
        now_is = NOON

        def now(self) -> datetime:
            return self.now_is

    one = Clock()
    monkeypatch.setattr("compute.operations.schedules.timezone", one)
    return one


def nightly(persona: Any, instance: Instance, **fields: Any) -> SnapshotSchedule:
    """Each day at two."""
    return schedules.create_schedule(
        persona.actor, instance, **{"name": "nightly", "frequency": "daily", "hour": 2, "keep": 2, **fields}
    )


def run_at(clock: Any, moment: datetime, instance: Instance) -> int:
    """What the watcher does at a moment, and the workers after it."""
    clock.now_is = moment
    ran = schedules.run_due()
    finish(instance)
    return ran


def names(instance: Instance) -> list[str]:
    return list(Snapshot.objects.filter(instance=instance).values_list("name", flat=True))


def test_it_runs_when_it_is_due_and_keeps_the_last_ones(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    take(alice, instance, "nightly by hand")
    schedule = nightly(alice, instance)
    due = NOON + timedelta(hours=14)
    assert (schedule.next_run_at, schedule.try_at) == (due, due)
    assert run_at(clock, due - timedelta(seconds=1), instance) == 0
    for day in range(4):
        assert run_at(clock, due + day * DAY, instance) == 1
        assert schedules.run_due() == 0
    assert names(instance) == ["nightly by hand", "nightly 2026-11-23 02:00", "nightly 2026-11-24 02:00"]
    assert len(hypervisor_of(shared_host).snapshots(instance.id)) == 3
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.last_run_at) == (due + 4 * DAY, due + 3 * DAY)
    assert (schedule.last_action.state, schedule.waits_for, schedule.missed_at) == ("done", "", None)
    newest = Snapshot.objects.get(current=True)
    assert (newest.schedule, newest.user_name, newest.memory) == (schedule, "alice", False)
    assert newest.parent.name == "nightly 2026-11-23 02:00"


def test_with_memory_if_it_is_on(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance, memory=True)
    run_at(clock, schedule.next_run_at, instance)
    do(now(instance), act_of(alice, "stop"))
    run_at(clock, schedule.next_run_at + DAY, instance)
    assert list(Snapshot.objects.values_list("memory", flat=True)) == [True, False]


def test_backups_rotate_among_their_own(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    do(instance, act_of(alice, "create_backup", name="by hand", backup_type="daily", rotation=5))
    schedule = nightly(alice, instance, kind="backup")
    for day in range(3):
        assert run_at(clock, schedule.next_run_at + day * DAY, instance) == 1
    kept = Image.objects.filter(properties__instance_uuid=str(instance.pk), status="active").order_by("created_at")
    assert [one.name for one in kept] == ["by hand", "web nightly 2026-11-22 02:00", "web nightly 2026-11-23 02:00"]
    assert {one.project_id for one in kept} == {cloud.demo.id}


def test_what_was_missed_while_nobody_looked_runs_once(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    assert run_at(clock, NOON + 10 * DAY, instance) == 1
    assert schedules.run_due() == 0
    assert names(instance) == ["nightly 2026-11-30 12:00"]
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.missed_at) == (NOON + 10 * DAY + timedelta(hours=14), None)


def test_two_watchers_take_it_once(cloud, shared_host, alice, clock, monkeypatch):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    clock.now_is = schedule.next_run_at
    both = threading.Barrier(2, timeout=20)
    real = schedules._run
    ran: list[int] = []

    def at_once(*args: Any) -> bool:
        both.wait()
        return real(*args)

    def watch() -> None:
        try:
            ran.append(schedules.run_due())
        finally:
            connection.close()

    monkeypatch.setattr(schedules, "_run", at_once)
    threads = [threading.Thread(target=watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == [0, 1]
    finish(instance)
    assert names(instance) == ["nightly 2026-11-21 02:00"]
    schedule.refresh_from_db()
    assert schedule.waits_for == ""


def test_one_that_is_busy_is_asked_again_and_given_up_when_the_next_is_due(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    due = schedule.next_run_at
    do(instance, act_of(alice, "rescue"))
    assert run_at(clock, due, instance) == 0
    schedule.refresh_from_db()
    assert "vm_state rescued" in schedule.waits_for
    assert (schedule.next_run_at, schedule.try_at) == (due, due + schedules.AGAIN)
    assert run_at(clock, due + schedules.AGAIN / 2, instance) == 0
    assert not Snapshot.objects.exists()
    assert run_at(clock, due + DAY + timedelta(seconds=5), instance) == 0
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.missed_at) == (due + DAY, due)
    assert "vm_state rescued" in schedule.missed_why
    do(now(instance), act_of(alice, "unrescue"))
    assert run_at(clock, due + DAY + timedelta(hours=3), instance) == 1
    schedule.refresh_from_db()
    assert (schedule.waits_for, schedule.next_run_at, schedule.missed_at) == ("", due + 2 * DAY, due)
    assert names(instance) == ["nightly 2026-11-22 05:00"]


def test_one_that_waited_into_the_next_period_says_what_it_missed(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    due = schedule.next_run_at
    do(instance, act_of(alice, "rescue"))
    run_at(clock, due, instance)
    do(now(instance), act_of(alice, "unrescue"))
    assert run_at(clock, due + DAY, instance) == 1
    schedule.refresh_from_db()
    assert (schedule.missed_at, schedule.next_run_at) == (due, due + 2 * DAY)
    assert names(instance) == ["nightly 2026-11-22 02:00"]


def test_a_run_that_fails_is_shown_and_the_next_one_comes(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    hypervisor_of(shared_host).inject(Fault("create_snapshot", error="NoSpace"))
    assert run_at(clock, schedule.next_run_at, instance) == 1
    schedule.refresh_from_db()
    assert (schedule.last_action.state, schedule.last_action.message) == ("error", "create_snapshot was told to fail")
    hypervisor_of(shared_host).heal()
    assert run_at(clock, schedule.next_run_at, instance) == 1
    assert len(names(instance)) == 1


def test_what_cannot_be_removed_goes_next_time(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance, keep=1)
    due = schedule.next_run_at
    run_at(clock, due, instance)
    hypervisor_of(shared_host).inject(Fault("delete_snapshot", call=2))  # the first is before the snapshot is made
    hypervisor_of(shared_host).inject(Fault("delete_snapshot", call=1))
    run_at(clock, due + DAY, instance)
    assert dict(Snapshot.objects.values_list("name", "state")) == {
        "nightly 2026-11-21 02:00": "error",
        "nightly 2026-11-22 02:00": "available",
    }
    hypervisor_of(shared_host).heal()
    run_at(clock, due + 2 * DAY, instance)
    assert names(instance) == ["nightly 2026-11-23 02:00"]
    assert len(hypervisor_of(shared_host).snapshots(instance.id)) == 1


def test_a_full_instance_still_rotates(cloud, shared_host, alice, clock, settings):
    settings.SNAPSHOTS_PER_INSTANCE = 2
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance, keep=2)
    for day in range(3):
        assert run_at(clock, schedule.next_run_at + day * DAY, instance) == 1
    assert len(names(instance)) == 2
    nightly(alice, instance, name="more", keep=1)
    run_at(clock, schedule.next_run_at + 4 * DAY, instance)  # the other one has it then
    run_at(clock, schedule.next_run_at + 4 * DAY + schedules.AGAIN, instance)
    waits_for = SnapshotSchedule.objects.get(name="more").waits_for
    assert waits_for == "The server has 2 of the 2 snapshots that it may have."


def test_switched_off_and_on_again(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    schedules.update_schedule(alice.actor, schedule, enabled=False)
    assert run_at(clock, NOON + 3 * DAY, instance) == 0
    again = schedules.update_schedule(alice.actor, schedule, enabled=True)
    assert again.next_run_at == NOON + 3 * DAY + timedelta(hours=14)
    assert run_at(clock, NOON + 3 * DAY, instance) == 0
    moved = schedules.update_schedule(alice.actor, schedule, frequency="hourly", minute=30, name="often")
    assert (moved.next_run_at, moved.name) == (NOON + 3 * DAY + timedelta(minutes=30), "often")
    assert schedules.update_schedule(alice.actor, schedule, keep=5).next_run_at == moved.next_run_at


def test_what_it_made_outlives_it(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    run_at(clock, schedule.next_run_at, instance)
    schedules.delete_schedule(alice.actor, schedule)
    assert run_at(clock, NOON + 9 * DAY, instance) == 0
    assert Snapshot.objects.get().schedule is None


def test_one_deleted_between_the_run_and_its_worker_keeps_all(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance, keep=1)
    run_at(clock, schedule.next_run_at, instance)
    clock.now_is = schedule.next_run_at + DAY
    schedules.run_due()
    schedules.delete_schedule(alice.actor, schedule)
    finish(instance)
    assert len(names(instance)) == 2


def test_soft_deleted_waits_deleted_ends(cloud, shared_host, alice, clock, settings):
    settings.RECLAIM_SECONDS = 3600
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    do(instance, act_of(alice, "delete"))
    assert run_at(clock, NOON + 3 * DAY, instance) == 0
    schedule.refresh_from_db()
    assert schedule.waits_for == ""
    do(now(instance), act_of(alice, "restore"))
    assert run_at(clock, NOON + 3 * DAY, instance) == 1
    settings.RECLAIM_SECONDS = 0
    do(now(instance), act_of(alice, "force_delete"))
    assert not SnapshotSchedule.objects.exists()
    assert_gone(shared_host, instance)


def test_one_that_cannot_be_helped_holds_up_nobody(cloud, shared_host, alice, clock, monkeypatch):
    instance = boot(alice, cloud)
    broken, fine = nightly(alice, instance, name="broken"), nightly(alice, instance, name="fine", minute=1)
    real = schedules._ask

    def ask(schedule: SnapshotSchedule, moment: datetime) -> Action:
        if schedule.pk == broken.pk:
            raise RuntimeError("no")
        return real(schedule, moment)

    monkeypatch.setattr(schedules, "_ask", ask)
    assert run_at(clock, fine.next_run_at, instance) == 1
    broken.refresh_from_db()
    assert broken.waits_for.startswith("An internal error")


def test_a_locked_instance_is_snapshot_all_the_same(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    Instance.objects.filter(pk=instance.pk).update(locked=True)
    assert run_at(clock, schedule.next_run_at, instance) == 1


@pytest.mark.parametrize(
    ("fields", "about"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"frequency": "monthly"}, "frequency"),
        ({"kind": "tape"}, "kind"),
        ({"minute": 60}, "minute"),
        ({"hour": 24}, "hour"),
        ({"weekday": 7}, "weekday"),
        ({"keep": 0}, "keep"),
        ({"keep": 17}, "keep"),
        ({"kind": "backup", "keep": 1001}, "keep"),
        ({"kind": "backup", "memory": True}, "memory"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ],
)
def test_what_makes_no_sense(cloud, shared_host, alice, fields, about):
    instance = boot(alice, cloud)
    with pytest.raises(errors.Invalid) as caught:
        nightly(alice, instance, **fields)
    assert caught.value.about == about
    assert not SnapshotSchedule.objects.exists()
    schedule = nightly(alice, instance)
    with pytest.raises(errors.Invalid):
        schedules.update_schedule(alice.actor, schedule, **fields)
    before = {name: getattr(schedule, name) for name in fields}
    schedule.refresh_from_db()
    assert {name: getattr(schedule, name) for name in fields} == before


def test_who_may_and_how_many(cloud, shared_host, alice, bob, charlie):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    for persona in (bob, charlie):
        with pytest.raises(Forbidden):
            nightly(persona, instance, name="theirs")
        with pytest.raises(Forbidden):
            schedules.update_schedule(persona.actor, schedule, keep=3)
        with pytest.raises(Forbidden):
            schedules.delete_schedule(persona.actor, schedule)
    with pytest.raises(errors.Conflict, match="named 'nightly' already"):
        nightly(alice, instance)
    for number in range(schedules.SCHEDULES_CAP - 1):
        nightly(alice, instance, name=str(number))
    with pytest.raises(errors.QuotaExceeded):
        nightly(alice, instance, name="one more")
    with pytest.raises(errors.Conflict):
        schedules.update_schedule(alice.actor, schedule, name="3")


def test_whose_runs_they_are(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance, keep=5)
    bys = []
    for change in (
        lambda: None,
        lambda: User.objects.filter(pk=alice.user.pk).update(enabled=False),
        lambda: User.objects.filter(pk=alice.user.pk).update(enabled=True),
        lambda: Assignment.objects.filter(user=alice.user).delete(),
    ):
        change()
        schedule.refresh_from_db()
        assert run_at(clock, schedule.next_run_at, instance) == 1
        done = Action.objects.filter(operation="create_snapshot").latest("id")
        assert (done.state, done.project_id) == ("done", cloud.demo.id)
        bys.append((done.user_id, done.user_name))
    assert bys == [(alice.user.id, "alice"), ("", ""), (alice.user.id, "alice"), ("", "")]


def test_a_disabled_project_makes_nothing(cloud, shared_host, alice, clock):
    instance = boot(alice, cloud)
    schedule = nightly(alice, instance)
    Project.objects.filter(pk=cloud.demo.pk).update(enabled=False)
    assert run_at(clock, schedule.next_run_at, instance) == 0
    schedule.refresh_from_db()
    assert schedule.waits_for == "The project is disabled." and not Snapshot.objects.exists()
    Project.objects.filter(pk=cloud.demo.pk).update(enabled=True)
    assert run_at(clock, schedule.try_at, instance) == 1
