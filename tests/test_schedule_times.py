"""When schedules run: hours, days and weeks in a time zone, over the days when its clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from compute.errors import Invalid
from compute.schedule_times import Timing, zone_named, zone_names

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def timing(frequency: str, minute: int = 0, hour: int = 0, weekday: int = 0, zone: str = "UTC") -> Timing:
    return Timing(frequency, minute, hour, weekday, ZoneInfo(zone))


@pytest.mark.parametrize(
    ("wanted", "moment", "runs"),
    [
        (timing("hourly", 15), "2026-11-20 10:14:59", ["2026-11-20 10:15", "2026-11-20 11:15"]),
        (timing("hourly", 15), "2026-11-20 10:15:00", ["2026-11-20 11:15"]),
        (timing("hourly", 0), "2026-12-31 23:30", ["2027-01-01 00:00"]),
        (timing("hourly", 0, zone="Asia/Kolkata"), "2026-11-20 10:00", ["2026-11-20 10:30"]),
        (timing("daily", 30, 2), "2026-11-20 02:29", ["2026-11-20 02:30", "2026-11-21 02:30"]),
        (timing("daily", 30, 2), "2026-11-20 02:30", ["2026-11-21 02:30"]),
        (timing("daily", 0, 23, zone="America/New_York"), "2026-11-20 10:00", ["2026-11-21 04:00"]),
        (timing("daily", 0, 1, zone="Pacific/Auckland"), "2026-11-20 10:00", ["2026-11-20 12:00"]),
        (timing("weekly", 0, 4, 6), "2026-11-20 10:00", ["2026-11-22 04:00", "2026-11-29 04:00"]),
        (timing("weekly", 0, 4, 4), "2026-11-20 10:00", ["2026-11-27 04:00"]),
        (timing("weekly", 0, 0, 0, "Asia/Tokyo"), "2026-11-20 10:00", ["2026-11-22 15:00"]),
        # 2026-03-29 in Berlin has no 02:30: the clocks go from 02:00 to 03:00.
        (
            timing("daily", 30, 2, zone=BERLIN),
            "2026-03-28 00:00",
            ["2026-03-28 01:30", "2026-03-29 01:30", "2026-03-30 00:30"],
        ),
        # 2026-10-25 in Berlin has 02:30 twice.
        (
            timing("daily", 30, 2, zone=BERLIN),
            "2026-10-24 12:00",
            ["2026-10-25 00:30", "2026-10-26 01:30"],
        ),
        (
            timing("hourly", 30, zone=BERLIN),
            "2026-10-24 23:45",
            ["2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"],
        ),
    ],
)
def test_the_runs_that_follow(wanted: Timing, moment: str, runs: list[str]) -> None:
    last = at(moment)
    for run in runs:
        last = wanted.next_after(last)
        assert last == at(run)
        assert last.tzinfo is UTC


def test_the_last_one_that_was_due() -> None:
    daily = timing("daily", 0, 3)
    assert daily.last_until(at("2026-11-20 10:00"), since=at("2026-11-01 03:00")) == at("2026-11-20 03:00")
    assert daily.last_until(at("2026-11-20 03:00"), since=at("2026-11-19 03:00")) == at("2026-11-20 03:00")
    assert daily.last_until(at("2026-11-20 02:59"), since=at("2026-11-19 03:00")) == at("2026-11-19 03:00")


@pytest.mark.parametrize("name", ["", "Berlin", "europe/berlin", "../../etc/passwd", "localtime", "UTC+1", "a\x00b"])
def test_what_is_no_time_zone(name: str) -> None:
    with pytest.raises(Invalid, match="There is no time zone"):
        zone_named(name)
    assert name not in zone_names()


def test_time_zones() -> None:
    assert {"UTC", BERLIN, "America/New_York"} <= set(zone_names())
    assert zone_named(BERLIN) == ZoneInfo(BERLIN)
