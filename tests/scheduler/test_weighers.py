"""A case table for each weigher: what it gives each of two hosts, and which comes first by it alone."""

from __future__ import annotations

import pytest

from scheduler.facts import Facts
from scheduler.weighers import WEIGHERS
from scheduler.weighers.base import normalised
from tests.scheduler.views import group, host, rank, request, scene

MAKE = {one.__name__: one for one in WEIGHERS}
TOGETHER, APART = group("soft-affinity"), group("soft-anti-affinity")
DEVICES = Facts(pci_devices=("10de:1db6",) * 3)
METRICS = {"weight_setting": ["cpu.percent=-1", "guests.running=2"]}


def pair(**second):
    return [host(id=1, name="a"), host(id=2, name="b", **second)]


# (weigher, options, hosts a and b, request, surroundings, raw weights, the first)
CASES = [
    ("RAMWeigher", {}, pair(memory_used_mb=24), request(), scene(), [512, 1512], "b"),
    ("CPUWeigher", {}, pair(vcpus_used=0), request(), scene(), [1, 16], "b"),
    ("DiskWeigher", {}, pair(disk_used_gb=0), request(), scene(), [1, 100], "b"),
    ("IoOpsWeigher", {}, pair(), request(), scene(io={1: 3, 2: 1}), [3, 1], "b"),
    (
        "MetricsWeigher",
        METRICS,
        pair(),
        request(),
        scene(samples={1: {"cpu.percent": 9, "guests.running": 1}, 2: {"cpu.percent": 5, "guests.running": 1}}),
        [-7, -3],
        "b",
    ),
    (
        "MetricsWeigher",
        METRICS,
        pair(),
        request(),
        scene(samples={2: {"cpu.percent": 90, "guests.running": 0}}),
        [-10_000, -90],
        "b",
    ),
    (
        "MetricsWeigher",
        {**METRICS, "required": False},
        pair(),
        request(),
        scene(samples={2: {"cpu.percent": 90, "guests.running": 0}}),
        [0, -90],
        "a",
    ),
    (
        "ServerGroupSoftAffinityWeigher",
        {},
        pair(),
        request(group=TOGETHER),
        scene(members=(TOGETHER, [2, 2, 1])),
        [1, 2],
        "b",
    ),
    (
        "ServerGroupSoftAntiAffinityWeigher",
        {},
        pair(),
        request(group=APART),
        scene(members=(APART, [1, 1, 2])),
        [-2, -1],
        "b",
    ),
    ("BuildFailureWeigher", {}, pair(build_failures=2), request(), scene(), [0, -2], "a"),
    ("NumInstancesWeigher", {}, pair(instances=9), request(), scene(), [3, 9], "a"),  # usually off
    ("HypervisorVersionWeigher", {}, pair(hypervisor_version=7_002_000), request(), scene(), [0, 7_002_000], "b"),
    (
        "ImagePropertiesWeigher",
        {},
        pair(),
        request(image_properties={"os": "bsd"}),
        scene(images=[(1, {"os": "linux"}, 5), (2, {"os": "bsd"}, 2)]),
        [0, 2],
        "a",
    ),  # usually off
    (
        "ImagePropertiesWeigher",
        {"image_props_weight_setting": ["os=3", "hw=1"]},
        pair(),
        request(image_properties={"os": "bsd", "hw": "q35", "x": "y"}),
        scene(images=[(1, {"hw": "q35", "x": "y"}, 2), (2, {"os": "bsd"}, 2)]),
        [2, 6],
        "a",
    ),
    ("PCIWeigher", {}, [host(id=1, name="a", facts=DEVICES), host(id=2, name="b")], request(), scene(), [97, 100], "b"),
]


@pytest.mark.parametrize(("name", "options", "hosts", "wanted", "around", "raw", "first"), CASES)
def test_a_weigher_tells_hosts_apart(name, options, hosts, wanted, around, raw, first):
    one = MAKE[name](options)
    assert one.weigh(hosts, wanted, around) == raw
    assert rank(hosts, wanted, around=around, filters=(), weighers=(one,))[0].name == first


def test_every_weigher_has_a_case():
    assert {case[0] for case in CASES} == set(MAKE)


@pytest.mark.parametrize("name", ["NumInstancesWeigher", "ImagePropertiesWeigher"])
def test_one_that_is_usually_off_works_with_a_multiplier(name):
    case = next(one for one in CASES if one[0] == name)
    one = MAKE[name](case[1], 1.0)
    assert rank(case[2], case[3], around=case[4], filters=(), weighers=(one,))[0].name == "b"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("ServerGroupSoftAffinityWeigher", request(group=APART)),
        ("ServerGroupSoftAntiAffinityWeigher", request(group=TOGETHER)),
        ("ServerGroupSoftAffinityWeigher", request()),
        ("MetricsWeigher", request()),
        ("ImagePropertiesWeigher", request()),
    ],
)
def test_one_that_does_not_matter_is_not_asked(name, wanted):
    assert not MAKE[name]().matters(wanted)


def test_weights_are_stretched_between_0_and_1():
    assert normalised([3, 1, 2]) == [1.0, 0.0, 0.5]
    assert normalised([5, 5]) == [0.0, 0.0]
    assert normalised([25, 50], (0, 100)) == [0.25, 0.5]


def test_a_negative_multiplier_prefers_the_opposite():
    stack = MAKE["RAMWeigher"]({}, -1.0)
    assert rank(pair(memory_used_mb=24), request(), filters=(), weighers=(stack,))[0].name == "a"


def test_multipliers_add_up():
    hosts = [host(id=1, name="a", memory_used_mb=0, vcpus_used=15), host(id=2, name="b", vcpus_used=0)]
    ram, cpu = MAKE["RAMWeigher"]({}, 1.0), MAKE["CPUWeigher"]({}, 2.0)
    assert rank(hosts, request(), filters=(), weighers=(ram, cpu))[0].name == "b"
    assert rank(hosts, request(), filters=(), weighers=(ram, MAKE["CPUWeigher"]({}, 0.5)))[0].name == "a"


def test_an_aggregate_overrides_a_multiplier_and_the_smallest_counts():
    hosts = pair(memory_used_mb=24)
    key = "ram_weight_multiplier"
    around = scene(({key: "5"}, [2]), ({key: "-1"}, [2]), ({key: "much"}, [1, 2]))
    assert rank(hosts, request(), around=around, filters=(), weighers=(MAKE["RAMWeigher"](),))[0].name == "a"


def test_an_override_goes_no_lower_than_the_least():
    hosts = [host(id=1, name="a"), host(id=2, name="b", facts=DEVICES)]
    around = scene(({"pci_weight_multiplier": "-100"}, [1]))
    assert rank(hosts, request(), around=around, filters=(), weighers=(MAKE["PCIWeigher"](),))[0].name == "b"
