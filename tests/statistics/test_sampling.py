"""The watch measures a host and the instances on it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from compute.hosts import sampling
from compute.hosts.connections import hypervisor_of
from compute.hosts.sampling import Sampler
from compute.hypervisor.fake.faults import FOR_EVER, Fault, hanging
from compute.hypervisor.interface import Unreachable
from compute.models import Change, Instance, Reading, Sample, Series
from compute.operations.create import BootRequest, create
from compute.statistics.packing import OF_HOSTS, OF_INSTANCES, unpack_sample
from compute.statistics.reading import load_of_instance

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def booted(cloud, alice, drain) -> Instance:
    (instance,) = create(alice.actor, BootRequest(name="web", flavor_id="42", image_id=str(cloud.image.id)))
    drain()
    instance.refresh_from_db()
    return instance


@pytest.fixture
def driver(cloud) -> Any:
    return hypervisor_of(cloud.host)


def newest() -> tuple[dict[str, float], dict[int, dict[str, float]]]:
    host, instances = unpack_sample(Sample.objects.order_by("-pk")[0].values)
    named = {pk: dict(zip(OF_INSTANCES, values, strict=True)) for pk, values in instances.items()}
    return dict(zip(OF_HOSTS, host, strict=True)), named


def test_two_readings_make_a_sample(cloud, booted, driver):
    sampler = Sampler(cloud.host)
    before = Change.objects.count()
    sampler.take(driver)
    assert not Sample.objects.exists()
    time.sleep(1.1)
    sampler.take(driver)
    host, instances = newest()
    series = Series.objects.get(instance=booted)
    assert set(instances) == {series.pk} and series.host == cloud.host
    one = instances[series.pk]
    assert 5 < one["cpu"] < 15 and one["memory"] == 64  # a tenth of a processor, half of its memory
    assert one["transmit"] == pytest.approx(2 * one["receive"], rel=0.01) and one["receive"] > 0
    assert (host["guests"], host["receive"]) == (1, one["receive"])
    reading = Reading.objects.get()
    assert reading.counters["host"]["guests_running"] == 1
    assert set(reading.counters["guests"]) == {str(booted.pk)}
    assert Change.objects.count() == before  # the feed is for what pages show in words
    assert load_of_instance(booted, "1h").columns["memory"] == [64.0]


def test_a_sample_costs_two_writes(cloud, booted, driver, django_assert_max_num_queries):
    sampler = Sampler(cloud.host)
    sampler.take(driver)
    sampler.take(driver)
    with django_assert_max_num_queries(4):  # the two, and their transaction
        sampler.take(driver)
    assert Reading.objects.count() == 1


def test_guests_that_are_no_instances_are_left_out_until_they_are(cloud, booted, driver):
    Instance.objects.filter(pk=booted.pk).update(deleted_at="2020-01-01T00:00:00Z")
    sampler = Sampler(cloud.host)
    sampler.take(driver)
    sampler.take(driver)
    assert newest()[1] == {}
    Instance.objects.filter(pk=booted.pk).update(deleted_at=None)  # adopted, say
    sampler.take(driver)
    assert newest()[1] == {}
    sampler.look_again()
    sampler.take(driver)
    assert len(newest()[1]) == 1


def test_guests_that_cannot_be_asked_cost_nothing_but_their_own_figures(cloud, booted, driver, monkeypatch):
    monkeypatch.setattr(sampling, "GUESTS_SECONDS", 0.2)
    sampler = Sampler(cloud.host)
    sampler.take(driver)
    driver.inject(Fault("guest_usage", do="hang", times=FOR_EVER))
    for _ in range(sampling.MOST_LEFT_BEHIND + 2):
        sampler.take(driver)
    host, instances = newest()
    assert (host["guests"], instances) == (1, {})
    assert len(sampler._left_behind) == sampling.MOST_LEFT_BEHIND
    driver.heal()
    hanging.end()
    driver.inject(Fault("guest_usage", error="Failed"))
    sampler.take(driver)
    assert newest()[1] == {}
    sampler.take(driver)
    sampler.take(driver)
    assert len(newest()[1]) == 1


def test_a_host_that_is_gone_is_said(cloud, booted, driver):
    driver.inject(Fault("guest_usage", error="Unreachable"))
    with pytest.raises(Unreachable):
        Sampler(cloud.host).take(driver)
