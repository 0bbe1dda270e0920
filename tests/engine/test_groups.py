"""The lesson of the field: three hosts, a group apart, a group together, and forced hosts, through whole boots."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from compute.aggregates import add_host, create_aggregate
from compute.errors import Invalid
from compute.models import Host, Image, Instance, ServerGroup
from compute.operations.create import BootRequest, create
from compute.operations.delete import Delete
from compute.operations.engine import request as request_operation
from compute.operations.rebuild import RebuildRequest, rebuild
from compute.operations.shelve import Shelve, Unshelve
from compute.server_groups import create_group
from scheduler.request import Request
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db


@pytest.fixture
def three(cloud: Cloud) -> Cloud:
    """Two hosts more."""
    for name in ("host-2", "host-3"):
        Host.objects.create(name=name, uri=f"fake://{uuid.uuid4()}", state="up", vcpus=8, memory_mb=32_768, disk_gb=500)
    return cloud


@pytest.fixture
def boot(three: Cloud, drain: Callable[[], int]) -> Callable[..., Instance]:
    """Launch one for somebody and work until nothing is open."""

    def booted(persona: Persona, group: ServerGroup | None = None, **wanted: Any) -> Instance:
        hints = {"group": str(group.pk)} if group else {}
        fields = {"flavor_id": three.nano.id, "image_id": str(three.image.id), "scheduler_hints": hints, **wanted}
        made = create(persona.actor, BootRequest(name="web", **fields))
        drain()
        return Instance.objects.select_related("host").get(pk=made[0].pk)

    return booted


def host_of(instance: Instance) -> str:
    """Where it is."""
    return instance.host.name if instance.host else ""


def test_apart_and_the_fourth_is_refused_with_the_reason(alice: Persona, boot: Any) -> None:
    group = create_group(alice.actor, name="apart", policy="anti-affinity")
    assert {host_of(boot(alice, group)) for _ in range(3)} == {"host-1", "host-2", "host-3"}
    fourth = boot(alice, group)
    fault = fourth.faults.get()
    assert (fourth.vm_state, fourth.host) == ("error", None)
    assert fault.message.startswith("No valid host was found") and "server group" in fault.message
    assert fault.message.endswith(".") and "\n" not in fault.message


def test_together(alice: Persona, boot: Any) -> None:
    group = create_group(alice.actor, name="together", policy="affinity")
    assert len({host_of(boot(alice, group)) for _ in range(3)}) == 1


def test_so_many_on_a_host(alice: Persona, boot: Any) -> None:
    group = create_group(alice.actor, name="pairs", policy="anti-affinity", max_server_per_host=2)
    found = sorted(host_of(boot(alice, group)) for _ in range(6))
    assert found == ["host-1", "host-1", "host-2", "host-2", "host-3", "host-3"]
    assert boot(alice, group).vm_state == "error"


@pytest.mark.parametrize(("policy", "hosts"), [("soft-affinity", 1), ("soft-anti-affinity", 3)])
def test_soft_policies_do_what_they_can_and_refuse_nothing(alice: Persona, boot: Any, policy: str, hosts: int) -> None:
    group = create_group(alice.actor, name="soft", policy=policy)
    found = [boot(alice, group) for _ in range(4)]
    assert {one.vm_state for one in found} == {"active"}
    assert len({host_of(one) for one in found}) == hosts


def test_several_at_once_keep_apart(three: Cloud, alice: Persona, boot: Any) -> None:
    group = create_group(alice.actor, name="apart", policy="anti-affinity")
    boot(alice, group, min_count=3, max_count=3)
    rows = Instance.objects.filter(server_group=group).select_related("host")
    assert {host_of(row) for row in rows} == {"host-1", "host-2", "host-3"}


def test_a_deleted_member_makes_room(alice: Persona, boot: Any, drain: Callable[[], int]) -> None:
    group = create_group(alice.actor, name="apart", policy="anti-affinity")
    first, *_ = [boot(alice, group) for _ in range(3)]
    request_operation(Delete, first, alice.actor)
    drain()
    assert host_of(boot(alice, group)) == host_of(first)


def test_an_unshelve_heeds_the_group(alice: Persona, boot: Any, drain: Callable[[], int]) -> None:
    group = create_group(alice.actor, name="apart", policy="anti-affinity")
    first, *_ = [boot(alice, group) for _ in range(3)]
    request_operation(Shelve, first, alice.actor)
    drain()
    fourth = boot(alice, group)
    assert host_of(fourth) == host_of(first)
    request_operation(Unshelve, first, alice.actor)
    drain()
    first.refresh_from_db()
    assert (first.vm_state, first.host) == ("shelved_offloaded", None)


def test_hints_about_others(alice: Persona, boot: Any) -> None:
    first = boot(alice)
    same = boot(alice, scheduler_hints={"same_host": str(first.pk)})
    assert host_of(same) == host_of(first)
    other = boot(alice, scheduler_hints={"different_host": [str(first.pk)]})
    assert host_of(other) not in ("", host_of(first))


def test_a_forced_host_skips_the_filters_and_not_the_claim(three: Cloud, root: Persona, boot: Any) -> None:
    group = create_group(root.actor, name="apart", policy="anti-affinity")
    first = boot(root, group, host="host-2")
    assert host_of(first) == "host-2"
    assert boot(root, group, host="host-2").vm_state == "error"
    assert host_of(boot(root, group, host="host-2", forced=True)) == "host-2"
    Host.objects.filter(name="host-2").update(memory_mb=512)
    full = boot(root, host="host-2", forced=True)
    assert full.vm_state == "error" and "MB free" in full.faults.get().message


def test_a_zone_is_kept_with_a_group(three: Cloud, root: Persona, alice: Persona, boot: Any) -> None:
    east = create_aggregate(root.actor, name="rack", zone="east")
    for name in ("host-2", "host-3"):
        add_host(root.actor, east, host=name)
    group = create_group(alice.actor, name="apart", policy="anti-affinity")
    assert {host_of(boot(alice, group, zone="east")) for _ in range(2)} == {"host-2", "host-3"}
    assert boot(alice, group, zone="east").vm_state == "error"
    assert host_of(boot(alice, group)) == "host-1"


def test_a_copy_of_the_images_properties_is_kept(three: Cloud, alice: Persona, boot: Any) -> None:
    Image.objects.update(properties={"hw_architecture": "x86_64"})
    Host.objects.update(facts={"architecture": "x86_64"})
    made = boot(alice)
    Image.objects.update(properties={"hw_architecture": "aarch64"})
    assert made.vm_state == "active" and Request.of(made).image_properties == {"hw_architecture": "x86_64"}
    assert boot(alice).vm_state == "error"


def test_a_rebuild_asks_whether_the_host_suits_the_image(three: Cloud, alice: Persona, boot: Any) -> None:
    Host.objects.update(facts={"architecture": "x86_64"})
    made = boot(alice)
    other = Image.objects.get()
    other.pk, other.properties = uuid.uuid4(), {"hw_architecture": "aarch64"}
    other.save(force_insert=True)
    with pytest.raises(Invalid, match="does not suit the host that the instance is on: it has the architecture x86_64"):
        rebuild(alice.actor, made, RebuildRequest(str(other.pk)))
    made.refresh_from_db()
    assert (made.task_state, made.image_id) == (None, three.image.id)
    Image.objects.filter(pk=other.pk).update(properties={"os_distro": "debian"})
    assert rebuild(alice.actor, made, RebuildRequest(str(other.pk))).image_properties == {"os_distro": "debian"}
