"""Every operation between two hosts, and each of its calls to either: it fails, never returns, or its worker dies.

Afterwards rows and hosts agree, there is one guest, nothing is left behind, and the user can act.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import Action, Flavor, Host, Instance
from compute.operations import OPERATIONS
from compute.operations.engine import offered, request
from compute.operations.worker import without_hosts
from portal.identity.actor import SYSTEM
from tests.conftest import Cloud, Persona
from tests.engine.matrix import (
    NEVER,
    assert_gone,
    assert_sound_on,
    boot,
    do,
    is_sound_on,
    shared_host,
    strike,
    two_hosts,
    watched,
)

__all__ = ["shared_host", "two_hosts"]
pytestmark = pytest.mark.django_db(transaction=True)
Say = Callable[[Instance], Any]
KINDS = (
    ("fail", "before"),
    ("fail", "after"),
    ("hang", "before"),
    ("hang", "after"),
    ("kill", "before"),
    ("kill", "after"),
)
# What comes before each, and what its user does where a late call has left the guest another than the rows say.
BEFORE = {"migrate": (), "resize": (), "confirmResize": ("migrate",), "revertResize": ("resize",)}
REMEDY = {"resized": "revertResize"}


def say(name: str) -> Say:
    params = {"resize": {"flavor_id": "large"}}.get(name, {})
    return lambda one: request(OPERATIONS[name], Instance.objects.get(pk=one.pk), SYSTEM, **params)


@pytest.fixture
def story(cloud: Cloud, two_hosts: list[Host], alice: Persona, settings: Any) -> Callable[[str], Instance]:
    """Makes an instance on the first host that an operation can be asked for."""
    settings.RESIZE_TO_SAME_HOST = False
    Flavor.objects.create(id="large", name="large", vcpus=2, memory_mb=256, disk_gb=2, swap_mb=8)

    def ready(name: str) -> Instance:
        Host.objects.filter(pk=two_hosts[1].pk).update(enabled=False)
        instance = boot(alice, cloud)
        Host.objects.update(enabled=True)
        for before in BEFORE[name]:
            instance = do(instance, say(before))
            assert instance.host == two_hosts[1]
        return instance

    return ready


def calls_made(hosts: list[Host], run: Callable[[], Any]) -> list[int]:
    """How many calls this makes to each host."""
    drivers: list[Any] = [hypervisor_of(host) for host in hosts]
    for driver in drivers:
        driver.inject(Fault("*", call=NEVER))
    run()
    counts = []
    for driver in drivers:
        with driver._state.change() as state:
            counts.append(int(state["faults"][-1]["seen"]))
        driver.heal()
    return counts


@pytest.mark.parametrize(("kind", "when"), KINDS)
@pytest.mark.parametrize("name", BEFORE)
def test_whatever_happens_to_either_host_or_the_worker_it_ends_soundly(
    story: Callable[[str], Instance], two_hosts: list[Host], alice: Persona, name: str, kind: str, when: str
) -> None:
    instance = story(name)
    counts = calls_made(two_hosts, lambda: do(instance, say(name)))
    assert all(counts)
    clear_away(two_hosts, instance)
    for host, calls in zip(two_hosts, counts, strict=True):
        for call in range(1, calls + 1):
            about = (name, host.name, kind, when, call)
            instance = strike(host, story(name), say(name), (kind, call, when))
            assert_said(instance, name, about)
            watched(two_hosts)
            instance = Instance.objects.get(pk=instance.pk)
            if kind == "hang" and not is_sound_on(two_hosts, instance):
                instance = do(instance, say(REMEDY.get(instance.vm_state, "reboot_hard")))
                watched(two_hosts)
                instance = Instance.objects.get(pk=instance.pk)
            assert_sound_on(two_hosts, instance, about)
            assert offered(instance, alice.actor), about
            clear_away(two_hosts, instance)


def assert_said(instance: Instance, name: str, about: object) -> None:
    """The action has ended, and says why, if in error; of hosts it names none."""
    action = Action.objects.filter(instance=instance, operation=name).order_by("id").last()
    assert action is not None and action.finished_at is not None, about
    if action.state == "error":
        assert "told to fail" in action.message or "did not answer within " in action.message, (about, action.message)
        assert action.message == without_hosts(action.message)
        assert "kill" not in str(about), (about, action.message)
    else:
        assert action.state == "done", (about, action.state)


def clear_away(hosts: list[Host], instance: Instance) -> None:
    """The user deletes it."""
    instance = do(instance, say("force_delete"))
    for host in hosts:
        assert_gone(host, instance)
