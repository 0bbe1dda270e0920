"""What an aggregate's metadata overrides of the scheduler's settings, for the hosts in it."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.aggregates import RATIO_KEYS
from scheduler.options import BadOption, Option
from scheduler.weighers import WEIGHERS


@dataclass(frozen=True)
class Override:
    """One key. Its value is a number; of a host in several aggregates, the smallest counts."""

    key: str
    option: Option

    @property
    def sentence(self) -> str:
        """What it stands instead of."""
        return self.option.sentence

    def check(self, text: str) -> None:
        """Raise BadOption for a value that would be left out, or make no sense."""
        try:
            value = self.option.clean(text)
        except BadOption as error:
            raise BadOption(str(error)) from error
        if self.key in RATIO_KEYS.values() and value <= 0:
            raise BadOption(f"{self.key} is more than 0.")


def _ratio(key: str) -> Override:
    what = {"cpu": "vCPUs", "ram": "memory", "disk": "disk space"}[key.split("_", maxsplit=1)[0]]
    return Override(key, Option(key, "number", 1.0, f"Instead of the hosts' own overcommit of {what}.", minimum=0))


def _limit(key: str, filter_name: str) -> Override:
    sentence = f"Instead of the option of {filter_name}, which must be on."
    return Override(key, Option(key, "integer", 1, sentence, minimum=1))


_EVERY = (
    *(_ratio(key) for key in RATIO_KEYS.values()),
    _limit("max_instances_per_host", "AggregateNumInstancesFilter"),
    _limit("max_io_ops_per_host", "AggregateIoOpsFilter"),
    *(
        Override(
            one.multiplier_key,
            Option(
                one.multiplier_key,
                "number",
                one.multiplier,
                f"Instead of the multiplier of {one.__name__}.",
                minimum=one.least_multiplier,
            ),
        )
        for one in WEIGHERS
    ),
)
OVERRIDES = {one.key: one for one in _EVERY}
