"""Every operation between two hosts, and each of its calls to either: it fails, never returns, or its worker dies.

Afterwards rows and hosts agree, there is one guest, nothing is left behind, and the user can act.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compute.models import Action, Flavor, Host, Instance
from compute.operations import OPERATIONS
from compute.operations.engine import offered, request
from compute.operations.worker import without_hosts
from portal.identity.actor import SYSTEM
from tests.conftest import Cloud, Persona
from tests.engine.matrix import (
    assert_gone,
    assert_sound_on,
    boot,
    calls_to,
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


def story_again(hosts: list[Host], instance: Instance, name: str, story: Callable[[str], Instance]) -> Instance:
    """One that the operation can be asked for: the same, if it is where it was or can be taken back."""
    begins, first = "resized" if BEFORE[name] else "active", hosts[1 if BEFORE[name] else 0]
    if name in ("migrate", "resize") and instance.vm_state == "resized":
        instance = do(instance, say("revertResize"))
    if name == "revertResize" and instance.vm_state == "active" and instance.host == hosts[0]:
        instance = do(instance, say(*BEFORE[name]))
    if instance.vm_state == begins and instance.host == first and instance.power_state == 1:
        return instance
    clear_away(hosts, instance)
    return story(name)


@pytest.mark.parametrize(("kind", "when"), KINDS)
@pytest.mark.parametrize("name", BEFORE)
def test_whatever_happens_to_either_host_or_the_worker_it_ends_soundly(
    story: Callable[[str], Instance], two_hosts: list[Host], alice: Persona, name: str, kind: str, when: str
) -> None:
    instance = story(name)
    calls = calls_to(two_hosts, lambda: do(instance, say(name)))
    assert {host.pk for host, _, changes in calls if changes} == {host.pk for host in two_hosts}
    instance = Instance.objects.get(pk=instance.pk)
    for host, call, changes in calls:
        if when == "after" and not changes:
            continue  # what only looks leaves the host as it was before
        about = (name, host.name, kind, when, call)
        instance = story_again(two_hosts, instance, name, story)
        instance = strike(host, instance, say(name), (kind, call, when))
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
