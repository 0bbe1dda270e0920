"""Samples, minutes, half-hours: nothing is lost on the way, nothing done twice, and charts see one line."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from compute.models import Block, Host, Instance, Level, Sample, Series
from compute.statistics import reading, rolling
from compute.statistics.packing import unpack_slots
from compute.statistics.reading import RANGES, busy_lately, load_of_host, load_of_instance, newest_of_hosts
from compute.statistics.rolling import Roller, prune, roll_day, roll_hour
from tests.statistics.conftest import DAY, HOUR, NOON, measured

pytestmark = pytest.mark.django_db


def roll(*host_ids: int) -> None:
    """All that is due."""
    roller = Roller()
    while roller.turn(list(host_ids), seconds=0):
        pass


def test_an_hour_becomes_averages_by_the_minute(cloud, instance):
    measured(cloud.host, range(NOON, NOON + HOUR, 10), lambda at: at % 60, instance)
    roll_hour(cloud.host.pk, NOON)
    own = Block.objects.get(series__instance=None)
    assert (own.level, own.start, own.series.host) == (Level.MINUTES, NOON, cloud.host)
    assert [one[0] for one in unpack_slots(own.values)] == [25.0] * 60
    assert [one[0] for one in unpack_slots(Block.objects.get(series__instance=instance).values)] == [50.0] * 60


def test_a_day_becomes_averages_by_the_half_hour(cloud, instance):
    day = NOON - DAY // 2
    for hour in range(0, DAY, HOUR):
        measured(
            cloud.host, range(day + hour, day + hour + HOUR, 60), lambda at: 10 if at % HOUR < 1800 else 30, instance
        )
        roll_hour(cloud.host.pk, day + hour)
    roll_day(cloud.host.pk, day)
    own = Block.objects.get(series__instance=None, level=Level.HALF_HOURS)
    assert own.start == day
    assert [one[0] for one in unpack_slots(own.values)] == [10, 30] * 24
    assert Block.objects.filter(series__instance=instance, level=Level.HALF_HOURS).count() == 1


def test_rolling_twice_changes_nothing(cloud, instance):
    measured(cloud.host, range(NOON, NOON + HOUR, 60), lambda at: 7, instance)
    for _ in range(2):
        roll_hour(cloud.host.pk, NOON)
        roll_day(cloud.host.pk, NOON - DAY // 2)
    assert Block.objects.count() == 4


def test_the_roller_finds_what_is_due_and_forgets_what_is_old(cloud, far, instance, at):
    begin = NOON - 50 * HOUR
    measured(cloud.host, range(begin, NOON - 20 * HOUR, 120), lambda at: 5, instance)  # then it was down for a while
    measured(cloud.host, range(NOON - 10 * HOUR, NOON + 600, 120), lambda at: 5, instance)
    at(NOON + 600)
    roll(cloud.host.pk, far.pk)
    hours = Block.objects.filter(series__instance=None, level=Level.MINUTES).values_list("start", flat=True)
    oldest = NOON - rolling.MINUTES_KEPT
    assert sorted(hours) == [one for one in range(oldest, NOON, HOUR) if not NOON - 20 * HOUR <= one < NOON - 10 * HOUR]
    days = Block.objects.filter(series__instance=instance, level=Level.HALF_HOURS).values_list("start", flat=True)
    midnight = NOON - DAY // 2
    assert sorted(days) == [midnight - 2 * DAY, midnight - DAY]
    assert min(Sample.objects.values_list("at", flat=True)) >= NOON - rolling.SAMPLES_KEPT
    assert not Block.objects.filter(series__host=far).exists()
    before = Block.objects.count()
    roll(cloud.host.pk)  # a watcher that was started again
    assert Block.objects.count() == before


def test_nothing_is_rolled_before_its_hour_is_over(cloud, at):
    measured(cloud.host, range(NOON, NOON + 1800, 60), lambda at: 5)
    at(NOON + HOUR + rolling.SETTLE_SECONDS - 1)
    roll(cloud.host.pk)
    assert not Block.objects.exists()
    at(NOON + HOUR + rolling.SETTLE_SECONDS)
    roll(cloud.host.pk)
    assert Block.objects.count() == 1


def test_a_turn_ends_when_its_time_is_over(cloud, at):
    measured(cloud.host, range(NOON - 5 * HOUR, NOON, 600), lambda at: 5)
    at(NOON + 600)
    roller = Roller()
    assert roller.turn([cloud.host.pk], seconds=0) == 1
    assert roller.turn([cloud.host.pk], seconds=60) == 4
    assert roller.turn([cloud.host.pk], seconds=60) == 0


def test_what_is_over_is_asked_for_once_an_hour(cloud, far, at, django_assert_num_queries):
    """A turn of the watcher costs nothing while nothing is due."""
    measured(cloud.host, range(NOON - 2 * HOUR, NOON + 600, 60), lambda at: 5)
    at(NOON + 600)
    roller = Roller()
    roller.turn([cloud.host.pk, far.pk], seconds=60)
    with django_assert_num_queries(0):
        assert roller.turn([cloud.host.pk, far.pk]) == 0


@pytest.mark.parametrize("name", RANGES)
def test_a_chart_is_one_line_over_all_levels(cloud, instance, at, name):
    """CPU is the number of the day (5, 6, …) all day long: whichever level a point comes from."""
    now, days = NOON + 1234, 6
    begin = NOON - days * DAY

    def cpu(moment: int) -> float:
        return 5 + (moment - begin) // DAY

    measured(cloud.host, range(begin, now - 2 * HOUR, 300), cpu, instance)
    measured(cloud.host, range(now - 2 * HOUR, now, 10), cpu, instance)
    at(now)
    roll(cloud.host.pk)
    for load, times in ((load_of_host(cloud.host, name), 1), (load_of_instance(instance, name), 2)):
        wanted = RANGES[name]
        assert load.step == wanted.step and load.until - load.since == wanted.reach
        since = max(begin, now - wanted.reach)
        assert abs(load.at[0] - since) <= wanted.step and now - load.at[-1] <= 2 * wanted.step
        gaps = {second - first for first, second in zip(load.at, load.at[1:], strict=False)}
        assert gaps == {wanted.step}
        for moment, busy in zip(load.at, load.columns["cpu"], strict=True):
            exact = {times * cpu(max(begin, moment)), times * cpu(min(now, moment + wanted.step))}
            assert min(exact) <= busy <= max(exact), (moment, busy)


def test_an_instance_takes_its_past_along(cloud, far, instance, at):
    measured(cloud.host, range(NOON, NOON + 1200, 10), lambda at: 10, instance)
    measured(far, range(NOON + 1300, NOON + 2400, 10), lambda at: 20, instance)
    at(NOON + 2400)
    load = load_of_instance(instance, "1h")
    assert load.columns["cpu"][0] == 20.0 and load.columns["cpu"][-1] == 40.0
    roll_hour(cloud.host.pk, NOON)
    roll_hour(far.pk, NOON)
    at(NOON + 2 * HOUR)
    day = load_of_instance(instance, "24h")
    assert day.columns["cpu"][0] == 20.0 and day.columns["cpu"][-1] == 40.0
    Series.objects.filter(host=cloud.host).update(host=None)  # as when the host is removed
    assert load_of_instance(instance, "24h").columns["cpu"][0] == 20.0


def test_what_was_not_measured_is_left_out(cloud, at):
    at(NOON)
    assert load_of_host(cloud.host, "1h").at == []
    measured(cloud.host, range(NOON - 3000, NOON - 2900, 10), lambda at: 1)
    load = load_of_host(cloud.host, "1h")
    assert (len(load.at), set(load.columns["cpu"])) == (10, {1.0})
    assert all(len(column) == 10 for column in load.columns.values())


def test_the_newest_of_every_host_in_one_query(cloud, far, at, django_assert_num_queries):
    measured(cloud.host, range(NOON - 60, NOON, 10), lambda at: at - NOON + 100)
    measured(far, range(NOON - 600, NOON - 300, 10), lambda at: 1)
    at(NOON)
    with django_assert_num_queries(1):
        found = newest_of_hosts()
    assert {pk: said["cpu"] for pk, said in found.items()} == {cloud.host.pk: 90.0}


def test_sparklines_of_all_hosts_in_one_query(cloud, far, at, django_assert_num_queries):
    measured(cloud.host, range(NOON - HOUR, NOON, 10), lambda at: (at - NOON + HOUR) // 60)
    at(NOON)
    with django_assert_num_queries(1):
        found = busy_lately([cloud.host.pk, far.pk])
    assert found[cloud.host.pk] == [*map(float, range(60)), None]
    assert found[far.pk] == [None] * 61


def test_old_statistics_are_forgotten(cloud, far, instance, settings):
    settings.STATISTICS_DAYS = 30
    now = int(time.time())
    own = Series.objects.create(host=cloud.host)
    gone = Series.objects.create(host=cloud.host, instance=instance)
    for series, level, age in (
        (own, Level.HALF_HOURS, 40), (own, Level.HALF_HOURS, 20), (own, Level.MINUTES, 8), (own, Level.MINUTES, 2),
    ):  # fmt: skip
        Block.objects.create(series=series, level=level, start=now - age * DAY, values=b"")
    for age in (3 * DAY, 60):
        Sample.objects.create(host=cloud.host, at=now - age, values=b"")
    prune()
    assert {(one.level, (now - one.start) // DAY) for one in Block.objects.all()} == {(2, 20), (1, 2)}
    assert Sample.objects.count() == 1
    assert Series.objects.filter(pk=gone.pk).exists()
    Instance.objects.update(deleted_at=datetime.now(UTC) - timedelta(days=2))
    prune()
    assert not Series.objects.filter(pk=gone.pk).exists()
    Block.objects.all().delete()
    Instance.objects.update(host=None)
    Host.objects.filter(pk=cloud.host.pk).delete()
    prune()
    assert not Series.objects.exists() and not Sample.objects.exists()


def test_a_chart_costs_few_queries(cloud, instance, at, django_assert_max_num_queries):
    measured(cloud.host, range(NOON - 5 * HOUR, NOON, 60), lambda at: 5, instance)
    at(NOON + 60)
    roll(cloud.host.pk)
    for name in RANGES:
        with django_assert_max_num_queries(4):
            reading.load_of_instance(instance, name)
