"""From counters to loads."""

from __future__ import annotations

import math
from dataclasses import replace
from uuid import uuid4

from compute.hypervisor.interface import GuestUsage, HostUsage
from compute.statistics.rates import Readings, cpu_percent, host_values, instances_values

ONE = uuid4()
BEFORE = GuestUsage(100.0, 512, 1000, 2000, 10, 20, 5000, 6000)
HOST = HostUsage(10.0, 100.0, 2048, 30.5, 100.0, 1)


def readings(moment, guest=BEFORE, host=HOST):
    return Readings(moment, host, None if guest is None else {ONE: guest})


def test_what_was_done_in_between_becomes_a_rate():
    after = GuestUsage(110.0, 600, 2000, 4000, 20, 40, 10_000, 16_000)
    found = instances_values(readings(0), readings(10, after), {ONE: 2})
    assert found == {ONE: [50.0, 600, 100.0, 200.0, 1.0, 2.0, 500.0, 1000.0]}
    busy = HostUsage(15.0, 120.0, 4096, 31.5, 100.0, 3)
    assert host_values(readings(0), readings(10, after, busy), found) == [
        25.0,
        4096,
        31.5,
        3,
        100.0,
        200.0,
        500.0,
        1000.0,
    ]


def test_a_guest_that_was_started_again_counts_from_nothing():
    again = GuestUsage(2.0, 300, 500, 100, 5, 1, 50, 60)
    found = instances_values(readings(0), readings(10, again), {ONE: 1})
    assert found == {ONE: [20.0, 300, 50.0, 10.0, 0.5, 0.1, 5.0, 6.0]}


def test_a_guest_never_uses_more_than_it_has():
    """The moment that libvirt read the counters is not exactly ours."""
    wild = replace(BEFORE, cpu_seconds=BEFORE.cpu_seconds + 10.4)
    assert instances_values(readings(0), readings(10, wild), {ONE: 1})[ONE][0] == 100.0


def test_there_is_no_load_without_two_readings():
    assert instances_values(readings(0, None), readings(10), {ONE: 1}) == {}
    assert instances_values(readings(0), readings(10, None), {ONE: 1}) == {}
    assert instances_values(readings(0), readings(0), {ONE: 1}) == {}
    assert instances_values(readings(0), readings(10), {}) == {}
    assert instances_values(Readings(0, HOST, {uuid4(): BEFORE}), readings(10), {ONE: 1}) == {}
    unknown = host_values(readings(0), readings(10, None), {})
    assert unknown[:4] == [0.0, 2048, 30.5, 1] and all(math.isnan(figure) for figure in unknown[4:])


def test_cpu_load_is_the_share_of_all_processors():
    def usage(busy: float, total: float) -> HostUsage:
        return HostUsage(busy, total, 0, 0.0, 0.0, 0)

    assert cpu_percent(usage(10, 100), usage(15, 120)) == 25.0
    assert cpu_percent(usage(10, 100), usage(10, 100)) == 0.0
    assert cpu_percent(usage(10, 100), usage(5, 120)) == 0.0
