"""A worker's calls to a host: fenced by its lease, limited in time, and what is called back stays in its thread."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute.hosts.calls import Call
from compute.hosts.connections import hypervisor_of
from compute.hypervisor import fence
from compute.hypervisor.libvirt import LibvirtHypervisor
from compute.models import Action, Host
from compute.operations import OPERATIONS, leases
from compute.operations.create import BootRequest, create
from compute.operations.leases import Lost, take
from compute.operations.worker import perform
from tests.conftest import Cloud, Persona
from tests.engine.matrix import assert_sound, finish, shared_host
from tests.engine.test_cancellation import at_call

__all__ = ["shared_host"]


def call(run: Any, *args: Any) -> Call:
    return Call(functools.partial(run, *args))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", range(1, 9))
def test_a_worker_that_slept_past_its_lease_asks_the_host_for_nothing_more(
    cloud: Cloud, shared_host: Host, alice: Persona, settings: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It fell asleep inside a call, and another took its operation up: this one call is all that it could do."""
    settings.LEASE_SECONDS = 1000
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id))
    (instance,) = create(alice.actor, wanted)
    action, driver, another = Action.objects.get(), hypervisor_of(shared_host), []
    clock = leases.clock

    def sleep() -> None:
        Action.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        another.append(take(action.pk))
        another.append(len(driver.calls()))  # type: ignore[attr-defined]  # it is a fake one
        monkeypatch.setattr(leases, "clock", lambda: clock() + 2000)

    at_call(monkeypatch, number, sleep)
    perform(action.pk, "transfer")
    lease, calls = another
    assert len(driver.calls()) == calls  # type: ignore[attr-defined]  # it is a fake one
    action.refresh_from_db()
    assert (action.state, action.lease_owner) == ("running", lease.owner)
    lease.release()
    assert finish(instance).vm_state == "active"
    instance.refresh_from_db()
    assert_sound(shared_host, instance)


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_slept_and_that_nobody_has_missed_goes_on(
    cloud: Cloud, shared_host: Host, alice: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id))
    create(alice.actor, wanted)
    action, clock = Action.objects.get(), leases.clock
    at_call(monkeypatch, 3, lambda: monkeypatch.setattr(leases, "clock", lambda: clock() + 2000))
    perform(action.pk, "transfer")
    action.refresh_from_db()
    assert (action.state, action.attempts) == ("done", 1)


def test_a_call_that_does_not_return_is_left_behind() -> None:
    over, ended, told = threading.Event(), threading.Event(), []

    def verb(tell: Any) -> None:
        over.wait(60)
        try:
            tell()
        finally:
            ended.set()

    left = call(verb, lambda: told.append(1))
    with pytest.raises(TimeoutError):
        left.result(0.01)
    over.set()
    assert ended.wait(30)
    assert told == []  # what it would have called back is not called any more


def test_a_call_that_was_left_behind_is_stopped_at_its_next_request() -> None:
    over, ended, reached = threading.Event(), threading.Event(), []

    def verb() -> None:
        over.wait(60)
        try:
            fence.check()
            reached.append(1)
        finally:
            ended.set()

    left = call(verb)
    with pytest.raises(TimeoutError):
        left.result(0.01)
    over.set()
    assert ended.wait(30)
    assert reached == []


def test_calls_share_a_thread_but_for_one_that_hangs() -> None:
    over, hanging = threading.Event(), []

    def hang() -> None:
        hanging.append(threading.current_thread())
        over.wait(60)

    assert len({call(threading.current_thread).result(30) for _ in range(50)}) < 10
    with pytest.raises(TimeoutError):
        call(hang).result(0.01)
    assert call(threading.current_thread).result(30) not in hanging
    over.set()


def test_each_request_to_libvirt_is_fenced() -> None:
    def closed() -> None:
        raise Lost("too late")

    driver = LibvirtHypervisor("test:///default", "pool", "/nowhere")
    with fence.behind(closed), pytest.raises(Lost):
        driver.guests()


def test_what_is_called_back_runs_in_the_workers_thread() -> None:
    def verb(here: Any, pieces: Any) -> Any:
        return threading.current_thread(), here(), list(pieces())

    def pieces() -> Iterator[threading.Thread]:
        yield threading.current_thread()
        yield threading.current_thread()

    mine = threading.current_thread()
    verbs, callback, content = call(verb, threading.current_thread, pieces).result(30)
    assert (verbs is not mine, callback, content) == (True, mine, [mine, mine])


def test_what_is_raised_comes_through_in_both_directions() -> None:
    def broken() -> None:
        raise Lost("no longer wanted")

    with pytest.raises(Lost, match="no longer wanted"):
        call(lambda ask: ask(), broken).result(30)
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 / 0).result(30)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_time_limit(name: str) -> None:
    assert timedelta(0) < OPERATIONS[name].limit <= timedelta(hours=12)
