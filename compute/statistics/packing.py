"""Values as bytes: eight figures for a host or instance at a moment, as 32-bit floats; NaN: not known."""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence

WIDTH = 8
# The columns of a host, and of an instance. CPU is percent of the whole host, or of the instance's vCPUs; memory is
# MiB, disk GiB; read, write, receive and transmit are bytes a second, and their requests requests a second.
OF_HOSTS = ("cpu", "memory", "disk", "guests", "read", "write", "receive", "transmit")
OF_INSTANCES = ("cpu", "memory", "read", "write", "read_requests", "write_requests", "receive", "transmit")
NOTHING = (math.nan,) * WIDTH

Values = Sequence[float]
Packed = bytes | memoryview  # as the two databases give it
_HEAD = struct.Struct("<H")  # how many instances
_VALUES = struct.Struct(f"<{WIDTH}f")


def pack_sample(host: Values, instances: Mapping[int, Values]) -> bytes:
    """A sample of a host and the instances on it, by the ids of their series."""
    count = len(instances)
    figures = [figure for values in (host, *instances.values()) for figure in values]
    return struct.pack(f"<H{WIDTH * (count + 1)}f{count}Q", count, *figures, *instances)


def host_of(sample: Packed) -> Values:
    """The host's own values in a sample."""
    return _VALUES.unpack_from(sample, _HEAD.size)


def unpack_sample(sample: Packed) -> tuple[Values, dict[int, Values]]:
    """A host's values, and those of the instances on it."""
    count = _HEAD.unpack_from(sample)[0]
    ids = struct.unpack_from(f"<{count}Q", sample, _HEAD.size + _VALUES.size * (count + 1))
    host, *instances = _VALUES.iter_unpack(sample[_HEAD.size : _HEAD.size + _VALUES.size * (count + 1)])
    return host, dict(zip(ids, instances, strict=True))


def instance_of(sample: Packed, series: int) -> Values | None:
    """One instance's values in a sample, if it is in it."""
    count = _HEAD.unpack_from(sample)[0]
    ids = struct.unpack_from(f"<{count}Q", sample, _HEAD.size + _VALUES.size * (count + 1))
    if series not in ids:
        return None
    return _VALUES.unpack_from(sample, _HEAD.size + _VALUES.size * (ids.index(series) + 1))


def pack_slots(slots: Sequence[Values | None]) -> bytes:
    """Averages of successive spans of time. A column's figures lie together, which compresses best."""
    rows = [NOTHING if values is None else values for values in slots]
    columns = array("f", (row[column] for column in range(WIDTH) for row in rows))
    if sys.byteorder == "big":
        columns.byteswap()
    return zlib.compress(columns.tobytes())


def unpack_slots(packed: Packed) -> list[Values]:
    """The same, back."""
    columns = array("f")
    columns.frombytes(zlib.decompress(packed))
    if sys.byteorder == "big":
        columns.byteswap()
    length = len(columns) // WIDTH
    return list(zip(*(columns[column * length : (column + 1) * length] for column in range(WIDTH)), strict=True))


class Averages:
    """Averages of spans of time, from values that each count for some time. What is not known does not count."""

    def __init__(self, slots: int) -> None:
        self._sums = [0.0] * (slots * WIDTH)
        self._weights = [0.0] * (slots * WIDTH)

    def add(self, slot: int, values: Values, weight: float = 1.0) -> None:
        """Values that held for ``weight`` of the time of a slot."""
        place = slot * WIDTH
        for figure in values:
            if not math.isnan(figure):
                self._sums[place] += figure * weight
                self._weights[place] += weight
            place += 1

    def rows(self) -> Iterable[Values | None]:
        """The average of each slot; None where nothing was added."""
        for start in range(0, len(self._sums), WIDTH):
            weights = self._weights[start : start + WIDTH]
            if not any(weights):
                yield None
                continue
            sums = self._sums[start : start + WIDTH]
            yield [figure / weight if weight else math.nan for figure, weight in zip(sums, weights, strict=True)]
