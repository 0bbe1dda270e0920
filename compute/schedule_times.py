"""When a schedule runs: wall-clock times in its own time zone, as moments. Values in, values out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from compute.errors import Invalid
from compute.models import Frequency, SnapshotSchedule

WEEK_AND_A_DAY = 8


@dataclass(frozen=True)
class Timing:
    """Each hour at ``minute``, each day at ``hour:minute``, or so on each ``weekday`` (0: Monday)."""

    frequency: str
    minute: int
    hour: int
    weekday: int
    zone: ZoneInfo

    @classmethod
    def of(cls, schedule: SnapshotSchedule) -> Timing:
        """As its row says."""
        zone = zone_named(schedule.time_zone)
        return cls(schedule.frequency, schedule.minute, schedule.hour, schedule.weekday, zone)

    def next_after(self, moment: datetime) -> datetime:
        """The first run after a moment, in UTC.

        A time that the clocks leave out comes as much later as they were put forward; of one that they
        show twice, the first counts.
        """
        local = moment.astimezone(self.zone)
        if self.frequency == Frequency.HOURLY:
            this_hour = local.replace(minute=self.minute, second=0, microsecond=0).astimezone(UTC)
            return this_hour if this_hour > moment else this_hour + timedelta(hours=1)
        for days in range(WEEK_AND_A_DAY + 1):
            day = local.date() + timedelta(days=days)
            at = datetime.combine(day, time(self.hour, self.minute), self.zone).astimezone(UTC)
            if at > moment and (self.frequency == Frequency.DAILY or day.weekday() == self.weekday):
                return at
        raise AssertionError("a week has seven days")

    def last_until(self, moment: datetime, since: datetime) -> datetime:
        """The last run until a moment, given that ``since`` was one."""
        last = since
        while (following := self.next_after(last)) <= moment:
            last = following
        return last


def zone_named(name: str) -> ZoneInfo:
    """The time zone of this name. Raises Invalid."""
    if name not in zone_names():
        raise Invalid(f"There is no time zone '{name}'; write it as in Europe/Berlin, or UTC.", about="time_zone")
    return ZoneInfo(name)


@cache
def zone_names() -> tuple[str, ...]:
    """All of them, by name; those that are only another's old name too."""
    return tuple(sorted(name for name in available_timezones() if name != "localtime"))
