"""Values as bytes, and averages of them."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from compute.statistics.packing import (
    NOTHING,
    WIDTH,
    Averages,
    host_of,
    instance_of,
    pack_sample,
    pack_slots,
    unpack_sample,
    unpack_slots,
)

FIGURES = st.floats(0, 1e9, width=32)
VALUES = st.tuples(*[FIGURES] * WIDTH)


@given(host=VALUES, instances=st.dictionaries(st.integers(1, 2**63 - 1), VALUES, max_size=30))
def test_a_sample_comes_back_as_it_was(host, instances):
    packed = pack_sample(host, instances)
    assert unpack_sample(packed) == (host, instances)
    assert unpack_sample(memoryview(packed)) == (host, instances)
    assert host_of(packed) == host
    for series, values in instances.items():
        assert instance_of(packed, series) == values
    assert instance_of(packed, 2**63) is None


@given(slots=st.lists(st.none() | VALUES, min_size=1, max_size=60))
def test_slots_come_back_as_they_were(slots):
    found = unpack_slots(pack_slots(slots))
    assert len(found) == len(slots)
    for one, wanted in zip(found, slots, strict=True):
        if wanted is None:
            assert all(math.isnan(figure) for figure in one)
        else:
            assert one == wanted


def test_an_hour_of_an_idle_instance_takes_next_to_nothing():
    assert len(pack_slots([(0.0,) * WIDTH] * 60)) < 60
    assert len(pack_slots([None] * 60)) < 60


def test_what_is_not_known_does_not_count():
    averages = Averages(3)
    averages.add(0, (1.0,) * WIDTH)
    averages.add(0, (3.0, math.nan) + (1.0,) * (WIDTH - 2), weight=3)
    averages.add(1, NOTHING)
    first, second, third = averages.rows()
    assert first is not None and first[:3] == [2.5, 1.0, 1.0]
    assert (second, third) == (None, None)
