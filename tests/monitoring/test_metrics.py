"""/metrics, read by Prometheus' own parser."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from compute.hosts.connections import hypervisor_of
from compute.hosts.sampling import Sampler
from compute.models import Host, Instance, Reading
from compute.operations.create import BootRequest, create

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "correct-horse-battery"
ODD = 'we"b\\ of\nalice'


@pytest.fixture
def instance(cloud, alice, drain) -> Instance:
    (instance,) = create(alice.actor, BootRequest(name="web", flavor_id="42", image_id=str(cloud.image.id)))
    drain()
    Instance.objects.update(name=ODD)
    sampler = Sampler(cloud.host)
    for _ in range(2):
        sampler.take(hypervisor_of(cloud.host))
    return instance


def scrape(token: str | None = None) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = Client().get("/metrics", headers=headers)
    assert answer.status_code == 200 and answer["Content-Type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.content.decode())}


def values(family: Any) -> dict[tuple[tuple[str, str], ...], float]:
    return {tuple(sorted(one.labels.items())): one.value for one in family.samples}


def test_everybody_reads_counts_and_no_name(cloud, far, instance, settings):
    settings.METRICS_TOKEN = TOKEN
    Host.objects.filter(pk=far.pk).update(last_seen_at=timezone.now() - timedelta(minutes=5))
    found = scrape()
    assert set(found) == {"nacelle_instances", "nacelle_hosts", "nacelle_open_operations"}
    assert values(found["nacelle_instances"]) == {(("vm_state", "active"),): 1}
    assert values(found["nacelle_hosts"]) == {
        (("state", "up"),): 1, (("state", "down"),): 1, (("state", "new"),): 0,
    }  # fmt: skip
    assert values(found["nacelle_open_operations"]) == {(): 0}
    text = Client().get("/metrics").content.decode()
    assert not any(word in text for word in ("host-1", "alice", str(instance.pk), cloud.demo.id))


def test_who_has_the_token_reads_each_host_and_instance(cloud, far, instance, settings):
    settings.METRICS_TOKEN = TOKEN
    found = scrape(TOKEN)
    hosts = {(("host", "host-1"),), (("host", "host-2"),)}
    for name in ("up", "enabled", "vcpus", "memory_bytes", "instances"):
        assert set(values(found[f"nacelle_host_{name}"])) == hosts, name
    assert values(found["nacelle_host_memory_bytes"])[("host", "host-1"),] == 32_768 << 20
    busy = values(found["nacelle_host_cpu_seconds"])
    assert set(busy) == {(("host", "host-1"), ("mode", "busy")), (("host", "host-1"), ("mode", "idle"))}
    (info,) = found["nacelle_instance_info"].samples
    assert info.labels == {
        "instance": str(instance.pk), "name": ODD, "project": cloud.demo.id, "host": "host-1", "vm_state": "active",
    }  # fmt: skip
    mine = ("instance", str(instance.pk))
    assert values(found["nacelle_instance_memory_used_bytes"]) == {(mine,): 64 << 20}
    for name in ("cpu_seconds", "disk_read_bytes", "disk_writes", "network_receive_bytes", "network_transmit_bytes"):
        family = found[f"nacelle_instance_{name}"]
        assert family.type == "counter" and [one.name for one in family.samples] == [f"{family.name}_total"]


def test_every_family_is_described_and_written_once(cloud, far, instance, settings):
    settings.METRICS_TOKEN = TOKEN
    text = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content.decode()
    lines = text.splitlines()
    helped = [line.split()[2] for line in lines if line.startswith("# HELP")]
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert helped == typed and len(set(typed)) == len(typed)
    samples = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(set(samples)) == len(samples)
    assert all(family.documentation for family in scrape(TOKEN).values())


@pytest.mark.parametrize("given", ["Bearer wrong", "Bearer ", "Basic dXNlcjpwYXNz", TOKEN, "Bearer ünsinn"])
@pytest.mark.parametrize("ours", [TOKEN, ""])
def test_another_token_is_refused(cloud, settings, given, ours):
    settings.METRICS_TOKEN = ours
    answer = Client().get("/metrics", headers={"Authorization": given})
    assert answer.status_code == 401 and "nacelle_" not in answer.content.decode()


def test_old_readings_are_left_out(cloud, instance, settings):
    settings.METRICS_TOKEN = TOKEN
    Reading.objects.update(at=int(time.time()) - 600)
    found = scrape(TOKEN)
    assert "nacelle_host_cpu_seconds" not in found and "nacelle_instance_cpu_seconds" not in found
    assert "nacelle_instance_info" in found and "nacelle_host_up" in found


def test_a_scrape_costs_few_queries_however_many_hosts(cloud, far, instance, settings, django_assert_num_queries):
    settings.METRICS_TOKEN = TOKEN
    with django_assert_num_queries(8):
        scrape(TOKEN)
    Host.objects.bulk_create(Host(name=f"more-{one}", uri=f"fake://more-{one}", state="up") for one in range(20))
    with django_assert_num_queries(8):
        scrape(TOKEN)
