"""`manage.py check_allocations`: it finds what differs, says so, and sets it right without touching the rest."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import F

from compute import reconciliation
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import Flavor, Host, Instance, Migration, QuotaUsage
from compute.operations import OPERATIONS
from compute.operations.engine import request
from compute.operations.worker import perform
from tests.conftest import Cloud, Persona
from tests.engine.matrix import boot, do, finish, shared_host

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)


def check(*flags: str) -> tuple[int, str]:
    """The command's exit code and what it printed."""
    out = StringIO()
    try:
        call_command("check_allocations", *flags, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def instance(cloud: Cloud, alice: Persona) -> Instance:
    return boot(alice, cloud)


def test_a_cloud_without_instances_has_no_difference(cloud: Cloud) -> None:
    assert check() == (0, "Every claim and every usage is what the instances say.\n")


def test_what_runs_makes_no_difference(instance: Instance) -> None:
    assert Host.objects.get().instances_used == 1
    assert check()[0] == 0


def test_what_differs_is_printed_with_its_numbers_and_changes_nothing(cloud: Cloud, instance: Instance) -> None:
    Host.objects.update(memory_mb_used=F("memory_mb_used") + 512)
    code, text = check()
    assert code == 1
    assert [line.split() for line in text.splitlines()[1:2]] == [["host", "host-1", "memory_mb", "640", "128", "-512"]]
    assert text.endswith("1 differ; --fix sets them right.\n")
    assert Host.objects.get().memory_mb_used == 640


def test_it_is_set_right(cloud: Cloud, instance: Instance) -> None:
    Host.objects.update(vcpus_used=0, disk_gb_used=77, instances_used=9)
    QuotaUsage.objects.update(cores=5)
    code, text = check("--fix")
    assert code == 0
    assert text.endswith("4 differ, 4 set right.\n")
    host, usage = Host.objects.get(), QuotaUsage.objects.get(project=cloud.demo)
    assert (host.vcpus_used, host.memory_mb_used, host.disk_gb_used, host.instances_used) == (1, 128, 1, 1)
    assert (usage.instances, usage.cores, usage.memory_mb) == (1, 1, 128)
    assert check()[0] == 0


def test_a_usage_row_that_is_missing_is_a_difference(cloud: Cloud, instance: Instance) -> None:
    QuotaUsage.objects.all().delete()
    code, text = check()
    assert (code, text.count("project demo")) == (1, 3)
    check("--fix")
    assert QuotaUsage.objects.get(project=cloud.demo).memory_mb == 128


def test_json(cloud: Cloud, instance: Instance) -> None:
    QuotaUsage.objects.filter(project=cloud.demo).update(instances=3)
    code, text = check("--json")
    assert code == 1
    assert json.loads(text) == {
        "differences": [
            {
                "kind": "project", "id": cloud.demo.id, "name": "demo", "resource": "instances",
                "recorded": 3, "computed": 1, "fixed": False,
            }
        ]
    }  # fmt: skip


def test_an_instance_amid_a_resize_holds_two_flavors(cloud: Cloud, alice: Persona, instance: Instance) -> None:
    large = Flavor.objects.create(id="large", name="large", vcpus=2, memory_mb=512, disk_gb=2, ephemeral_gb=2)
    resized = do(instance, lambda one: request(OPERATIONS["resize"], one, alice.actor, flavor_id=large.id))
    assert resized.vm_state == "resized"
    assert Host.objects.get().vcpus_used == 3
    assert check()[0] == 0
    Host.objects.update(vcpus_used=2)
    QuotaUsage.objects.update(cores=1)
    assert check("--fix")[0] == 0
    assert (Host.objects.get().vcpus_used, QuotaUsage.objects.get(project=cloud.demo).cores) == (3, 2)
    do(resized, lambda one: request(OPERATIONS["confirmResize"], one, alice.actor))
    assert Migration.objects.get().status == "confirmed"
    assert check()[0] == 0


def test_an_instance_that_is_deleted_holds_nothing(alice: Persona, instance: Instance) -> None:
    do(instance, lambda one: request(OPERATIONS["delete"], one, alice.actor))
    assert Host.objects.get().instances_used == 0
    assert check()[0] == 0


def test_what_changes_while_it_looks_is_no_difference(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look is without locks: what it takes for a difference is looked at again."""
    ledger = reconciliation.LEDGERS[0]

    def stale(keys: list[Any] | None) -> dict[Any, dict[str, int]]:
        return ledger.computed(keys) if keys else {}

    late = reconciliation._Ledger(**{**vars(ledger), "computed": stale})
    monkeypatch.setattr(reconciliation, "LEDGERS", (late,))
    assert reconciliation.differences(fix=True) == []
    assert Host.objects.get().instances_used == 1


def test_a_healthy_cloud_is_checked_in_few_queries(cloud: Cloud, instance: Instance, django_assert_num_queries) -> None:
    for number in range(5):
        Host.objects.create(name=f"more-{number}", uri=f"fake://more-{number}")
    with django_assert_num_queries(13):
        assert reconciliation.differences() == []


@pytest.mark.parametrize("claimed", [False, True])
def test_growing_while_it_runs_holds_what_it_grows_by(
    cloud: Cloud, shared_host: Host, alice: Persona, claimed: bool
) -> None:
    """Set right amid it, the quota and the claim would be given back twice."""
    room = {"nacelle:max_vcpus": "4", "nacelle:max_memory_mb": "1024"}
    Flavor.objects.create(id="roomy", name="roomy", vcpus=1, memory_mb=128, disk_gb=1, extra_specs=room)
    Flavor.objects.create(id="more", name="more", vcpus=2, memory_mb=384, disk_gb=1)
    instance = boot(alice, cloud, flavor_id="roomy")
    action = request(OPERATIONS["live_resize"], instance, alice.actor, flavor_id="more")
    if claimed:
        hypervisor_of(shared_host).inject(Fault("define", do="fail", error="Unreachable"))  # type: ignore[attr-defined]  # it is a fake one
        perform(action.pk, "compute")
    assert QuotaUsage.objects.get().cores == 2 and Host.objects.get().vcpus_used == (2 if claimed else 1)
    assert check("--fix") == (0, "Every claim and every usage is what the instances say.\n")
    instance = finish(instance)
    assert (instance.vcpus, check()[0]) == (2, 0)
