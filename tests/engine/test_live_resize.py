"""A flavor changed while the guest runs: claims, quota, headroom, and what remains after any fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compute import quota
from compute.errors import Conflict, Invalid, QuotaExceeded
from compute.headroom import Headroom, headroom_of
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import Action, Flavor, Host, Instance, QuotaLimit, VmState
from compute.operations import OPERATIONS
from compute.operations.engine import request
from compute.operations.live_resize import misfit_live
from compute.operations.reset_state import reset_state
from compute.operations.worker import perform
from portal.identity.policy import Forbidden
from tests.conftest import Cloud, Persona
from tests.engine.matrix import assert_gone, assert_sound, boot, calls_made, do, each_fault, finish, shared_host, strike

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)
ROOM = {"nacelle:max_vcpus": "4", "nacelle:max_memory_mb": "1024"}


@pytest.fixture
def roomy(cloud: Cloud) -> Flavor:
    """As the smallest one, with room."""
    return Flavor.objects.create(id="roomy", name="roomy", vcpus=1, memory_mb=128, disk_gb=1, extra_specs=ROOM)


@pytest.fixture
def more(cloud: Cloud) -> Flavor:
    """More processors and memory, the same disks; it leaves no room itself."""
    return Flavor.objects.create(id="more", name="more", vcpus=2, memory_mb=384, disk_gb=1)


def to(persona: Persona, flavor: Flavor) -> Callable[[Instance], Action]:
    return lambda instance: request(OPERATIONS["live_resize"], instance, persona.actor, flavor_id=flavor.id)


def assert_live(host: Host, instance: Instance, about: object = "") -> None:
    """Rows, definition and running guest agree."""
    assert_sound(host, instance, about)
    driver: Any = hypervisor_of(host)
    assert driver.live_size(instance.id) == (instance.vcpus, instance.memory_mb), about
    with driver._state.change() as state:
        guest = state["guests"][str(instance.id)]
    assert (guest["vcpus"], guest["memory_mb"]) == (instance.vcpus, instance.memory_mb), about


def test_it_grows_and_goes_on(cloud: Cloud, shared_host: Host, alice: Persona, roomy: Flavor, more: Flavor) -> None:
    instance = boot(alice, cloud, flavor_id="roomy")
    since = instance.launched_at
    instance = do(instance, to(alice, more))
    assert (instance.vm_state, instance.flavor["name"], instance.launched_at) == ("active", "more", since)
    assert not any(call.startswith(("stop", "destroy")) for call in hypervisor_of(shared_host).calls())  # type: ignore[attr-defined]  # it is a fake one
    assert_live(shared_host, instance)
    assert quota.usage(cloud.demo.id) == {"instances": 1, "cores": 2, "memory_mb": 384}
    assert "placement" in Action.objects.get(operation="live_resize").progress
    # it keeps the room that it was started with, also over its next start
    assert headroom_of(instance.flavor) == Headroom(4, 1024)
    instance = do(instance, lambda one: request(OPERATIONS["reboot_hard"], one, alice.actor))
    most = Flavor.objects.create(id="most", name="most", vcpus=4, memory_mb=1024, disk_gb=1)
    instance = do(instance, to(alice, most))
    assert_live(shared_host, instance)
    do(instance, lambda one: request(OPERATIONS["delete"], one, alice.actor))
    assert_gone(shared_host, instance)


def test_a_resize_gives_the_room_of_its_flavor(
    cloud: Cloud, shared_host: Host, alice: Persona, roomy: Flavor, more: Flavor
) -> None:
    instance = do(boot(alice, cloud, flavor_id="roomy"), to(alice, more))
    instance = do(instance, lambda one: request(OPERATIONS["resize"], one, alice.actor, flavor_id="42"))
    assert headroom_of(instance.flavor) == Headroom(1, 128)
    instance = do(instance, lambda one: request(OPERATIONS["revertResize"], one, alice.actor))
    assert headroom_of(instance.flavor) == Headroom(4, 1024)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "roomy"}, "It has this flavor already."),
        ({"disk_gb": 2}, "Its disks differ. A resize is needed."),
        ({"swap_mb": 64}, "Its disks differ. A resize is needed."),
        ({"memory_mb": 64}, "A running guest can only be given more. A resize is needed."),
        ({"vcpus": 1, "memory_mb": 128}, "A running guest can only be given more. A resize is needed."),
        ({"vcpus": 5}, "The guest was started with room for 4 vCPU. A resize is needed."),
        ({"memory_mb": 1152}, "The guest was started with room for 1024 MiB of memory. A resize is needed."),
        ({"memory_mb": 200}, "Memory is added in steps of 128 MiB. A resize is needed."),
        ({}, ""),
    ],
)
def test_when_it_cannot_it_says_so(
    cloud: Cloud, shared_host: Host, alice: Persona, roomy: Flavor, changes: dict[str, Any], why: str
) -> None:
    instance = boot(alice, cloud, flavor_id="roomy")
    wanted = {"id": "x", "name": "x", "vcpus": 2, "memory_mb": 256, "disk_gb": 1, **changes}
    flavor = Flavor(**wanted)
    assert misfit_live(instance, flavor) == why
    if why:
        if flavor.id == "x":
            flavor.save(force_insert=True)
        with pytest.raises(Invalid, match=why[:20]):
            to(alice, flavor)(instance)
        assert Action.objects.filter(operation="live_resize").count() == 0


def test_without_headroom_it_cannot(cloud: Cloud, shared_host: Host, alice: Persona, more: Flavor) -> None:
    assert "room for 1 vCPU" in misfit_live(boot(alice, cloud), more)


def test_quota_host_state_and_people(
    cloud: Cloud, shared_host: Host, alice: Persona, bob: Persona, charlie: Persona, roomy: Flavor, more: Flavor
) -> None:
    instance = boot(alice, cloud, flavor_id="roomy")
    for persona in (bob, charlie):
        with pytest.raises(Forbidden):
            to(persona, more)(instance)
    limit = QuotaLimit.objects.create(project_id=cloud.demo.id, resource="cores", limit=1)
    with pytest.raises(QuotaExceeded):
        to(alice, more)(instance)
    limit.delete()
    Host.objects.update(state="down")
    with pytest.raises(Conflict, match="unavailable"):
        to(alice, more)(instance)
    Host.objects.update(state="up")
    with pytest.raises(Invalid, match="could not be found"):
        to(alice, Flavor(id="none"))(instance)
    first = to(alice, more)(instance)
    with pytest.raises(Conflict, match="task_state resize_prep"):
        to(alice, more)(instance)
    instance = finish(instance)
    first.refresh_from_db()
    assert first.state == "done"
    assert_live(shared_host, instance)


def test_a_host_without_room_says_what_is_short(
    cloud: Cloud, shared_host: Host, alice: Persona, roomy: Flavor, more: Flavor
) -> None:
    instance = boot(alice, cloud, flavor_id="roomy")
    Host.objects.update(memory_mb=512 + 384, memory_ratio=1.0)
    instance = do(instance, to(alice, more))
    assert Action.objects.get(operation="live_resize").state == "done"
    most = Flavor.objects.create(id="most", name="most", vcpus=4, memory_mb=1024, disk_gb=1)
    instance = do(instance, to(alice, most))
    action = Action.objects.filter(operation="live_resize").first()
    assert action is not None and action.state == "error" and "wants 640 MB" in action.message
    assert (instance.vm_state, instance.flavor["name"]) == ("active", "more")
    assert_live(shared_host, instance)


def test_no_fault_leaves_it_half_grown(
    cloud: Cloud, shared_host: Host, alice: Persona, roomy: Flavor, more: Flavor
) -> None:
    instance = boot(alice, cloud, flavor_id="roomy")
    calls = calls_made(shared_host, lambda: do(instance, to(alice, more)))
    assert calls == 3
    for fault in each_fault(calls):
        do(Instance.objects.alive().get(), lambda one: request(OPERATIONS["delete"], one, alice.actor))
        fresh = boot(alice, cloud, flavor_id="roomy")
        fresh = strike(shared_host, fresh, to(alice, more), fault)
        action = Action.objects.filter(operation="live_resize").first()
        assert action is not None
        assert action.state == ("done" if fault[0] == "kill" else "error"), fault
        assert fresh.flavor["name"] == ("more" if action.state == "done" else "roomy"), fault
        assert_live(shared_host, fresh, fault)


def test_a_guest_that_keeps_what_it_got_is_no_obstacle(
    cloud: Cloud, shared_host: Host, alice: Persona, roomy: Flavor, more: Flavor
) -> None:
    instance = boot(alice, cloud, flavor_id="roomy")
    driver: Any = hypervisor_of(shared_host)
    driver.inject(Fault("set_live_vcpus", do="fail"))
    driver.inject(Fault("set_live_memory", call=2, do="fail", error="Busy"))
    instance = do(instance, to(alice, more))
    assert (instance.flavor["name"], instance.vm_state) == ("roomy", "active")
    assert_sound(shared_host, instance)
    assert driver.live_size(instance.id) == (1, 384)
    instance = do(instance, lambda one: request(OPERATIONS["reboot_hard"], one, alice.actor))
    assert_live(shared_host, instance)


@pytest.mark.parametrize("claimed", [False, True])
def test_deleted_or_reset_meanwhile(
    cloud: Cloud, shared_host: Host, alice: Persona, root: Persona, roomy: Flavor, more: Flavor, claimed: bool
) -> None:
    for end in ("reset", "delete"):
        instance = boot(alice, cloud, flavor_id="roomy")
        action = to(alice, more)(instance)
        if claimed:
            hypervisor_of(shared_host).inject(Fault("define", do="fail", error="Unreachable"))  # type: ignore[attr-defined]  # it is a fake one
            perform(action.pk, "compute")
            assert Host.objects.get().memory_mb_used == 384
        if end == "reset":
            instance.refresh_from_db()
            reset_state(root.actor, instance, state=VmState.ACTIVE)
            instance = finish(instance)
            assert_sound(shared_host, instance)
        do(instance, lambda one: request(OPERATIONS["delete"], one, alice.actor))
        assert_gone(shared_host, instance)
