"""Hosts that fail builds come last, until one goes well."""

from __future__ import annotations

import pytest

from compute.hypervisor.fake.driver import FakeHypervisor
from compute.hypervisor.interface import Failed
from compute.models import Host, HostState
from compute.operations.create import BootRequest, create
from scheduler.pick import evaluate
from tests.scheduler.views import SMALL


@pytest.fixture
def two(cloud):
    """A second host with less room, so that it is not the first choice."""
    return Host.objects.create(
        name="host-2", uri="fake://second", state=HostState.UP, vcpus=4, memory_mb=8192, disk_gb=100
    )


def test_a_failed_build_counts_against_the_host_until_one_goes_well(cloud, alice, two, drain, monkeypatch):
    define, failed = FakeHypervisor.define, []

    def fails_once(self, guest):
        if not failed:
            failed.append(guest.uuid)
            raise Failed("the disk is broken")
        return define(self, guest)

    monkeypatch.setattr(FakeHypervisor, "define", fails_once)
    assert evaluate(SMALL).hosts[0].name == "host-1"
    (instance,) = create(alice.actor, BootRequest("web", cloud.nano.id, str(cloud.image.id)))
    drain()
    instance.refresh_from_db()
    assert (instance.status, instance.host.name) == ("ACTIVE", "host-2")
    assert Host.objects.get(name="host-1").build_failures == 1
    assert evaluate(SMALL).hosts[0].name == "host-2"

    Host.objects.filter(name="host-2").update(enabled=False)
    create(alice.actor, BootRequest("again", cloud.nano.id, str(cloud.image.id)))
    drain()
    assert Host.objects.get(name="host-1").build_failures == 0
    Host.objects.filter(name="host-2").update(enabled=True)
    assert evaluate(SMALL).hosts[0].name == "host-1"
