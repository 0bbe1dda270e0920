"""An aggregate's overcommit stands instead of its hosts', in the inventories as in the claims."""

from __future__ import annotations

import pytest

from compute.models import Aggregate
from scheduler.pick import place
from tests.conftest import Cloud, Persona
from tests.scheduler.views import request

pytestmark = pytest.mark.django_db


def test_inventories_say_what_claims_hold(root: Persona, cloud: Cloud) -> None:
    for ratio in ("3.0", "0.5"):
        Aggregate.objects.create(name=ratio, metadata={"ram_allocation_ratio": ratio}).hosts.add(cloud.host)
    path = f"/placement/resource_providers/{cloud.host.uuid}/inventories"
    found = root.get(path, headers={"OpenStack-API-Version": "placement 1.39"}).json()["inventories"]
    assert found["MEMORY_MB"]["allocation_ratio"] == 0.5
    assert found["VCPU"]["allocation_ratio"] == 16.0
    room = int((found["MEMORY_MB"]["total"] - found["MEMORY_MB"]["reserved"]) * 0.5)
    assert place(request(memory_mb=room + 1)).host is None
    assert place(request(memory_mb=room)).host == cloud.host


def test_the_hosts_page_says_it_too(root: Persona, cloud: Cloud) -> None:
    Aggregate.objects.create(name="rack", metadata={"cpu_allocation_ratio": "2"}).hosts.add(cloud.host)
    root.client.force_login(root.user)
    ((_host, _state, capacities),) = root.client.get("/cloud/hosts/").context["hosts"]
    assert capacities[0]["total"] == 16.0
