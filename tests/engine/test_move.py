"""Cold migration, and resize to another host, on two fake hosts: with storage of their own, and in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute import allocations, errors
from compute.hosts.connections import hypervisor_of
from compute.hosts.storage import identify
from compute.hypervisor.fake.faults import Fault
from compute.images.verbs import delete_image
from compute.models import Action, Flavor, GroupPolicy, Host, Instance, Migration, Port, ServerGroup, Snapshot
from compute.operations import OPERATIONS
from compute.operations.cancellation import cancel_action
from compute.operations.engine import request
from compute.operations.reset_state import reset_state
from compute.operations.resize_end import confirm_overdue
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden
from tests.conftest import Cloud, Persona
from tests.engine.matrix import assert_gone, assert_sound_on, boot, do, finish, shared_host, two_hosts, watched

__all__ = ["shared_host", "two_hosts"]
pytestmark = pytest.mark.django_db(transaction=True)
GIB = 1 << 30


@pytest.fixture
def large(cloud: Cloud) -> Flavor:
    """More of everything."""
    return Flavor.objects.create(
        id="large", name="large", vcpus=2, memory_mb=512, disk_gb=2, ephemeral_gb=2, swap_mb=16
    )


@pytest.fixture
def instance(cloud: Cloud, two_hosts: list[Host], alice: Persona) -> Instance:
    """One that runs on the first host, with every kind of disk."""
    flavor = Flavor.objects.create(id="full", name="full", vcpus=1, memory_mb=128, disk_gb=1, ephemeral_gb=1, swap_mb=8)
    Host.objects.filter(pk=two_hosts[1].pk).update(enabled=False)
    made = boot(alice, cloud, flavor_id=flavor.id)
    Host.objects.update(enabled=True)
    assert made.host == two_hosts[0]
    return made


def say(name: str, /, persona: Persona | None = None, **params: Any) -> Any:
    actor = persona.actor if persona else SYSTEM
    return lambda one: request(OPERATIONS[name], Instance.objects.get(pk=one.pk), actor, **params)


def write(host: Host, volume: str, content: bytes) -> None:
    """What a guest has written to its disk."""
    hypervisor_of(host)._state.write(volume, content)  # type: ignore[attr-defined]  # a fake's


def read(host: Host, volume: str) -> bytes | None:
    content: bytes | None = hypervisor_of(host)._state.read(volume)  # type: ignore[attr-defined]  # likewise
    return content


def reservations(host: Host) -> dict[str, str]:
    with hypervisor_of(host)._state.change() as state:  # type: ignore[attr-defined]  # likewise
        return {mac: address for network in state["networks"].values() for mac, address in network.items()}


def are_apart(hosts: list[Host]) -> bool:
    return hosts[0].storage_id != hosts[1].storage_id


@pytest.mark.parametrize("stopped", [False, True])
def test_migrated_and_confirmed(two_hosts: list[Host], instance: Instance, stopped: bool) -> None:
    first, second = two_hosts
    if stopped:
        instance = do(instance, say("stop"))
    write(first, instance.root_volume, b"kept")
    address = Port.objects.get(instance=instance).addresses.get().address
    before = Instance.objects.get(pk=instance.pk)
    instance = do(instance, say("migrate"))
    assert (instance.host, instance.status) == (second, "VERIFY_RESIZE")
    assert instance.power_state == (4 if stopped else 1)
    assert (instance.flavor, instance.volume_names) == (before.flavor, before.volume_names)
    assert read(second, instance.root_volume) == b"kept"
    assert_sound_on(two_hosts, instance)
    migration = Migration.objects.get()
    assert (migration.migration_type, migration.status) == ("migration", "finished")
    assert (migration.source_host, migration.dest_host) == (first, second)
    action = Action.objects.get(operation="migrate")
    assert action.progress["placement"]["chosen"] == "host-2"
    assert action.progress["apart"] == {str(second.pk): are_apart(two_hosts)}
    assert ("lane" in action.progress) == are_apart(two_hosts)
    instance = do(instance, say("confirmResize"))
    assert (instance.vm_state, instance.host) == ("stopped" if stopped else "active", second)
    assert Migration.objects.get().status == "confirmed"
    assert_sound_on(two_hosts, instance)
    assert hypervisor_of(first).guests() == {} and reservations(first) == {}
    assert Port.objects.get(instance=instance).addresses.get().address == address
    if not stopped:
        assert address in reservations(second).values()
    do(instance, say("delete"))
    for host in two_hosts:
        assert_gone(host, instance)


@pytest.mark.parametrize("stopped", [False, True])
def test_migrated_and_reverted(two_hosts: list[Host], instance: Instance, stopped: bool) -> None:
    first, second = two_hosts
    if stopped:
        instance = do(instance, say("stop"))
    write(first, instance.root_volume, b"before")
    before = Instance.objects.get(pk=instance.pk)
    instance = do(instance, say("migrate"))
    write(second, instance.root_volume, b"since")
    instance = do(instance, say("revertResize"))
    assert (instance.vm_state, instance.host) == ("stopped" if stopped else "active", first)
    assert (instance.flavor, instance.volume_names) == (before.flavor, before.volume_names)
    assert Migration.objects.get().status == "reverted"
    assert_sound_on(two_hosts, instance)
    # The one disk of both goes on; a disk of its own is as it was.
    assert read(first, instance.root_volume) == (b"before" if are_apart(two_hosts) else b"since")
    assert hypervisor_of(second).guests() == {} and reservations(second) == {}
    do(instance, say("migrate"))  # and there is nothing in the way of another
    assert Instance.objects.get().host == second


@pytest.mark.parametrize("end", ["confirmResize", "revertResize"])
def test_resized_to_another_host(
    two_hosts: list[Host], instance: Instance, large: Flavor, alice: Persona, settings: Any, end: str
) -> None:
    settings.RESIZE_TO_SAME_HOST = False
    first, second = two_hosts
    write(first, instance.root_volume, b"kept")
    before = Instance.objects.get(pk=instance.pk)
    instance = do(instance, say("resize", alice, flavor_id="large"))
    assert (instance.host, instance.vm_state, instance.flavor["id"]) == (second, "resized", "large")
    assert read(second, instance.root_volume) == b"kept"
    sizes = hypervisor_of(second).volumes(prefix=str(instance.id))
    assert [sizes[instance.volume(role)] for role in ("root", "ephemeral0", "swap")] == [2 * GIB, 2 * GIB, 16 << 20]
    assert_sound_on(two_hosts, instance)
    instance = do(instance, say(end, alice))
    assert (instance.vm_state, instance.host) == ("active", second if end == "confirmResize" else first)
    assert instance.flavor == (large.snapshot() if end == "confirmResize" else before.flavor)
    assert_sound_on(two_hosts, instance)


def test_where_a_resize_may_stay_its_host_is_one_among_all(
    two_hosts: list[Host], instance: Instance, large: Flavor, alice: Persona
) -> None:
    first, second = two_hosts
    instance = do(instance, say("resize", alice, flavor_id="large"))
    assert instance.host == first  # 32 GiB of memory weigh more than 16
    assert Migration.objects.get().dest_host == first
    assert_sound_on(two_hosts, instance)
    instance = do(instance, say("revertResize", alice))
    Host.objects.filter(pk=first.pk).update(memory_mb=2048)
    instance = do(instance, say("resize", alice, flavor_id="large"))
    assert instance.host == second
    assert_sound_on(two_hosts, instance)


def test_the_claims_are_what_they_must_be_all_the_way(
    two_hosts: list[Host], instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compute.operations.calls import Calls

    seen, make = [], Calls.make

    def look(self: Any, host: Host, verb: str, *args: Any, **kwargs: Any) -> Any:
        wrong = {
            key: values
            for key, values in allocations.of_hosts().items()
            if any(getattr(Host.objects.get(pk=key), name) != value for name, value in values.items())
        }
        seen.append((verb, wrong))
        return make(self, host, verb, *args, **kwargs)

    monkeypatch.setattr(Calls, "make", look)
    instance = do(instance, say("migrate"))
    do(do(instance, say("revertResize")), say("migrate"))
    do(instance, say("confirmResize"))
    assert len(seen) > 30 and [one for one in seen if one[1]] == []


# who may, and when ----------------------------------------------------------------------------------
def test_who_may(two_hosts: list[Host], instance: Instance, cloud: Cloud, alice: Persona, bob: Persona,
                 charlie: Persona, root: Persona) -> None:  # fmt: skip
    for persona in (alice, bob, charlie):
        for params in ({}, {"host": "host-2"}):
            with pytest.raises(Forbidden):
                say("migrate", persona, **params)(instance)
    manager = promoted(alice)
    with pytest.raises(Forbidden):
        say("migrate", manager, host="host-2")(instance)
    assert not Migration.objects.exists()
    say("migrate", manager)(instance)
    assert Migration.objects.get().user_id == str(alice.user.id)


def promoted(persona: Persona) -> Persona:
    """The same, as a manager of the project."""
    from portal.identity.models import Assignment, Role

    Assignment.objects.create(user=persona.user, project=persona.project, role=Role.objects.get(name="manager"))
    return persona


def test_an_administrator_names_the_host(two_hosts: list[Host], instance: Instance, root: Persona) -> None:
    with pytest.raises(errors.Invalid, match="Compute host nowhere could not be found"):
        say("migrate", root, host="nowhere")(instance)
    with pytest.raises(errors.Invalid, match="Cannot migrate to the host where the server exists"):
        say("migrate", root, host="host-1")(instance)
    assert Instance.objects.get().task_state is None
    third = Host.objects.create(name="host-3", uri="fake://three", state="up", vcpus=9, memory_mb=90_000, disk_gb=9000)
    instance = do(instance, say("migrate", root, host="host-2"))
    assert instance.host == two_hosts[1]
    assert third.instances_used == 0


def test_the_filters_have_their_say_about_the_host_that_was_named(
    two_hosts: list[Host], instance: Instance, root: Persona
) -> None:
    Host.objects.filter(name="host-2").update(memory_mb=580)  # of which 512 are the host's own
    instance = do(instance, say("migrate", root, host="host-2"))
    action = Action.objects.get(operation="migrate")
    assert (instance.vm_state, action.state) == ("active", "error")
    assert "memory" in action.message
    assert_sound_on(two_hosts, instance)


def test_its_own_host_is_left_out(two_hosts: list[Host], instance: Instance) -> None:
    Host.objects.filter(name="host-2").update(enabled=False)
    instance = do(instance, say("migrate"))
    action = Action.objects.get(operation="migrate")
    assert (instance.vm_state, instance.host, action.state) == ("active", two_hosts[0], "error")
    assert Migration.objects.get().status == "error"
    rejected = {one["host"]: one["why"] for one in action.progress["placement"]["rejected"]}
    assert "unable to migrate to self" in rejected["host-1"]
    assert_sound_on(two_hosts, instance)


@pytest.mark.parametrize("state", ["paused", "suspended", "rescued", "shelved", "error", "resized", "building"])
def test_only_what_runs_or_is_stopped(two_hosts: list[Host], instance: Instance, state: str) -> None:
    Instance.objects.update(vm_state=state)
    with pytest.raises(errors.Conflict, match=f"Cannot 'migrate' instance .* vm_state {state}"):
        say("migrate")(instance)


def test_not_from_a_host_that_is_down(two_hosts: list[Host], instance: Instance) -> None:
    Host.objects.filter(name="host-1").update(state="down")
    with pytest.raises(errors.Conflict, match="Service is unavailable"):
        say("migrate")(instance)
    assert not Migration.objects.exists()


def test_snapshots_go_along_but_not_memory(two_hosts: list[Host], instance: Instance) -> None:
    instance = do(instance, say("create_snapshot", name="one"))
    write(two_hosts[0], instance.root_volume, b"later")
    instance = do(instance, say("migrate"))
    assert hypervisor_of(two_hosts[1]).snapshots(instance.id) == {str(Snapshot.objects.get().pk)}  # type: ignore[attr-defined]
    instance = do(instance, say("confirmResize"))
    instance = do(instance, say("revert_snapshot", snapshot=str(Snapshot.objects.get().pk)))
    assert read(two_hosts[1], instance.root_volume) != b"later"
    instance = do(instance, say("create_snapshot", name="two", memory=True))
    with pytest.raises(errors.Conflict, match="snapshots with memory"):
        say("migrate")(instance)


def test_the_zone_that_was_asked_for_and_no_other(two_hosts: list[Host], instance: Instance) -> None:
    Host.objects.filter(name="host-2").update(zone="far")
    Instance.objects.update(zone="nova")
    assert do(instance, say("migrate")).host == two_hosts[0]
    Instance.objects.update(zone="")
    assert do(instance, say("migrate")).host == two_hosts[1]


def test_the_host_of_the_first_day_counts_no_more(two_hosts: list[Host], instance: Instance) -> None:
    Instance.objects.update(asked_host="host-1", host_forced=True)
    assert do(instance, say("migrate")).host == two_hosts[1]


@pytest.mark.parametrize(("policy", "moves"), [(GroupPolicy.AFFINITY, False), (GroupPolicy.ANTI_AFFINITY, True)])
def test_a_server_group_keeps_its_policy(
    two_hosts: list[Host], instance: Instance, cloud: Cloud, alice: Persona, policy: str, moves: bool
) -> None:
    group = ServerGroup.objects.create(name="g", project=cloud.demo, user_id="", policy=policy)
    Instance.objects.update(server_group=group)
    assert do(instance, say("migrate")).host == two_hosts[1]  # alone in its group
    instance = do(instance, say("revertResize"))
    Host.objects.filter(name="host-2" if policy == GroupPolicy.AFFINITY else "host-1").update(enabled=False)
    other = boot(alice, cloud, flavor_id="42", name="other")
    Host.objects.update(enabled=True)
    Instance.objects.filter(pk=other.pk).update(server_group=group)
    assert (do(instance, say("migrate")).host == two_hosts[1]) is False
    assert "server group" in Action.objects.filter(operation="migrate").order_by("id").last().message  # type: ignore[union-attr]


def test_an_image_that_is_gone_comes_from_the_host_that_is_left(
    two_hosts: list[Host], instance: Instance, cloud: Cloud, root: Persona
) -> None:
    base = cloud.image.base_volume
    delete_image(actor=root.actor, image=cloud.image)
    instance = do(instance, say("migrate"))
    assert instance.host == two_hosts[1]
    assert hypervisor_of(two_hosts[1]).has_base(base)
    assert_sound_on(two_hosts, instance)


def test_an_image_that_is_there_comes_from_the_store(two_hosts: list[Host], instance: Instance, cloud: Cloud) -> None:
    hypervisor_of(two_hosts[0]).inject(Fault("download", do="fail", times=1))  # type: ignore[attr-defined]
    with_base = hypervisor_of(two_hosts[1]).has_base(cloud.image.base_volume)
    assert with_base != are_apart(two_hosts)


# what goes wrong ------------------------------------------------------------------------------------
VERBS_THERE = ["storage_id", "has_base", "receive", "define", "start"]


@pytest.mark.parametrize("verb", VERBS_THERE)
def test_a_host_that_fails_is_followed_by_the_next(
    two_hosts: list[Host], instance: Instance, tmp_path: Any, verb: str
) -> None:
    second = two_hosts[1]
    query = "&storage=one" if not are_apart(two_hosts) else ""
    third = Host.objects.create(
        name="host-3", uri=f"fake://{tmp_path}/host.sqlite3?host=host-3{query}", state="up", vcpus=8, memory_mb=8_192,
        disk_gb=400,
    )  # fmt: skip
    identify(third, hypervisor_of(third))
    if not are_apart(two_hosts) and verb in ("has_base", "receive"):
        pytest.skip("nothing is brought there")
    hypervisor_of(second).inject(Fault(verb, do="fail"))  # type: ignore[attr-defined]
    instance = do(instance, say("migrate"))
    action = Action.objects.get(operation="migrate")
    assert (instance.host, instance.vm_state, action.state) == (third, "resized", "done")
    assert action.progress["tried"] == [second.pk]
    assert "told to fail" in action.progress["failures"]["host-2"]
    assert_sound_on([*two_hosts, third], instance)
    instance = do(instance, say("confirmResize"))
    assert_sound_on([*two_hosts, third], instance)


@pytest.mark.parametrize("verb", VERBS_THERE)
def test_when_none_is_left_it_is_as_it_was(two_hosts: list[Host], instance: Instance, verb: str) -> None:
    if not are_apart(two_hosts) and verb in ("has_base", "receive"):
        pytest.skip("nothing is brought there")
    before = Instance.objects.get(pk=instance.pk)
    hypervisor_of(two_hosts[1]).inject(Fault(verb, do="fail"))  # type: ignore[attr-defined]
    instance = do(instance, say("migrate"))
    action = Action.objects.get(operation="migrate")
    assert (instance.vm_state, instance.power_state, instance.host) == ("active", 1, two_hosts[0])
    assert (instance.flavor, instance.volume_names) == (before.flavor, before.volume_names)
    assert action.state == "error" and "told to fail" in action.message and "host-2" not in action.message
    assert_sound_on(two_hosts, instance)


def test_what_fails_at_home_is_not_blamed_on_the_other_host(two_hosts: list[Host], instance: Instance) -> None:
    hypervisor_of(two_hosts[0]).inject(Fault("stop", do="fail"))  # type: ignore[attr-defined]
    instance = do(instance, say("migrate"))
    action = Action.objects.get(operation="migrate")
    assert (action.state, "tried" in action.progress, instance.vm_state) == ("error", False, "active")
    assert_sound_on(two_hosts, instance)


def test_a_guest_that_may_run_there_is_not_started_here_too(
    two_hosts: list[Host], instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other host starts it and is not heard of again, until the operation's time is over."""
    first, second = two_hosts
    driver: Any = hypervisor_of(second)
    driver.inject(Fault("start", do="fail", when="after", error="Unreachable"))
    say("migrate")(instance)
    action = Action.objects.get(operation="migrate")
    from compute.operations.worker import perform

    for _ in range(3):
        perform(action.pk, "transfer")
        driver.break_down()
    action.refresh_from_db()
    assert (action.state, Instance.objects.get().host) == ("running", second)
    Action.objects.update(created_at=timezone.now() - timedelta(days=1))
    instance = finish(instance)
    assert (instance.vm_state, instance.host) == ("error", first)
    assert int(hypervisor_of(first).guest(instance.id).power_state) == 4  # type: ignore[union-attr]
    driver.heal()
    assert int(driver.guest(instance.id).power_state) == 1
    watched(two_hosts)
    assert driver.guest(instance.id) is None
    instance = do(Instance.objects.get(), say("reboot_hard"))
    assert_sound_on(two_hosts, instance)


def test_a_guest_on_a_host_that_is_surely_off_is_started_here(two_hosts: list[Host], instance: Instance) -> None:
    first, second = two_hosts
    driver: Any = hypervisor_of(second)
    driver.inject(Fault("start", do="fail", when="after", error="Unreachable"))
    say("migrate")(instance)
    Host.objects.filter(pk=second.pk).update(state="down", fenced_at=timezone.now())
    driver.inject(Fault("remove", do="fail", error="Unreachable", times=9))
    instance = finish(instance)
    assert (instance.vm_state, instance.host, instance.power_state) == ("active", first, 1)
    driver.heal()
    watched(two_hosts)
    assert_sound_on(two_hosts, instance)


@pytest.mark.parametrize("at", ["storage_id", "receive", "stop", "volume_file"])
def test_cancelled_on_the_way(
    two_hosts: list[Host], instance: Instance, alice: Persona, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    if not are_apart(two_hosts) and at in ("receive", "volume_file"):
        pytest.skip("nothing is brought there")
    from compute.operations.calls import Calls

    make, done = Calls.make, []

    def cancelling(self: Any, host: Host, verb: str, *args: Any, **kwargs: Any) -> Any:
        if verb == at and not done:
            done.append(verb)
            action = Action.objects.get(operation="migrate")
            with pytest.raises(Forbidden):  # she could not have asked for it, either
                cancel_action(alice.actor, instance, action.request_id)
            cancel_action(SYSTEM, instance, action.request_id)
        return make(self, host, verb, *args, **kwargs)

    monkeypatch.setattr(Calls, "make", cancelling)
    instance = do(instance, say("migrate"))
    assert done and Action.objects.get(operation="migrate").state == "cancelled"
    assert (instance.vm_state, instance.power_state, instance.host) == ("active", 1, two_hosts[0])
    assert_sound_on(two_hosts, instance)


# the ends, with a host away -------------------------------------------------------------------------
def test_confirmed_while_the_source_is_down(two_hosts: list[Host], instance: Instance) -> None:
    first, second = two_hosts
    instance = do(instance, say("migrate"))
    driver: Any = hypervisor_of(first)
    driver.break_down()
    Host.objects.filter(pk=first.pk).update(state="down")
    instance = do(instance, say("confirmResize"))
    assert (instance.vm_state, instance.host) == ("active", second)
    driver.heal()
    Host.objects.filter(pk=first.pk).update(state="up")
    assert driver.guest(instance.id) is not None
    watched(two_hosts)
    assert_sound_on(two_hosts, instance)


def test_not_taken_back_while_the_source_is_down(two_hosts: list[Host], instance: Instance) -> None:
    instance = do(instance, say("migrate"))
    Host.objects.filter(pk=two_hosts[0].pk).update(state="down")
    with pytest.raises(errors.Conflict, match="host that the server came from is down"):
        say("revertResize")(instance)
    assert Instance.objects.get().status == "VERIFY_RESIZE"
    assert_sound_on(two_hosts, instance)


def test_taken_back_from_a_host_that_was_fenced(two_hosts: list[Host], instance: Instance) -> None:
    first, second = two_hosts
    instance = do(instance, say("migrate"))
    driver: Any = hypervisor_of(second)
    driver.break_down()
    with pytest.raises(errors.Conflict, match="Service is unavailable"):
        Host.objects.filter(pk=second.pk).update(state="down")
        say("revertResize")(instance)
    Host.objects.filter(pk=second.pk).update(state="down", fenced_at=timezone.now())
    instance = do(instance, say("revertResize"))
    assert (instance.vm_state, instance.power_state, instance.host) == ("active", 1, first)
    driver.heal()
    Host.objects.filter(pk=second.pk).update(state="up")
    watched(two_hosts)
    assert_sound_on(two_hosts, instance)


def test_confirmed_by_itself(two_hosts: list[Host], instance: Instance, settings: Any) -> None:
    instance = do(instance, say("migrate"))
    settings.RESIZE_CONFIRM_SECONDS = 60
    Migration.objects.update(updated_at=timezone.now() - timedelta(seconds=61))
    instance = do(instance, lambda one: confirm_overdue())
    assert (instance.vm_state, instance.host) == ("active", two_hosts[1])
    assert_sound_on(two_hosts, instance)


# whatever comes in between (OSSA-2015-017, OSSA-2016-011) -------------------------------------------
MOMENTS = [
    ("migrate", 0, "storage_id"), ("migrate", 0, "stop"), ("migrate", 0, "volume_file"), ("migrate", 1, "receive"),
    ("migrate", 1, "define"), ("migrate", 1, "start"), ("confirmResize", 0, "remove"), ("revertResize", 1, "destroy"),
    ("revertResize", 0, "start"), ("revertResize", 1, "remove"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "where", "verb"), MOMENTS)
@pytest.mark.parametrize("what", ["delete", "force_delete", "reset"])
def test_deleted_or_reset_at_any_moment_it_leaves_nothing_on_either_host(
    two_hosts: list[Host], instance: Instance, root: Persona, monkeypatch: pytest.MonkeyPatch,
    name: str, where: int, verb: str, what: str,
) -> None:  # fmt: skip
    from compute.operations.calls import Calls

    if not are_apart(two_hosts) and verb in ("receive", "volume_file"):
        pytest.skip("nothing is brought there")
    if name != "migrate":
        instance = do(instance, say("migrate"))
    make, done = Calls.make, []

    def interfering(self: Any, host: Host, called: str, *args: Any, **kwargs: Any) -> Any:
        found = make(self, host, called, *args, **kwargs)
        if called == verb and host.pk == two_hosts[where].pk and not done:
            done.append(called)
            if what == "reset":
                reset_state(root.actor, instance, state=VmStateOf("active"))
            else:
                say(what)(instance)
        return found

    monkeypatch.setattr(Calls, "make", interfering)
    instance = do(instance, say(name))
    assert done
    watched(two_hosts)
    if what == "reset":
        instance = do(Instance.objects.get(), say("reboot_hard"))
        watched(two_hosts)
        assert_sound_on(two_hosts, instance)
        instance = do(instance, say("force_delete"))
    for host in two_hosts:
        assert_gone(host, Instance.objects.get())
        assert reservations(host) == {} or what == "reset"
    assert not Port.objects.exists()


def VmStateOf(name: str) -> Any:
    from compute.models import VmState

    return VmState(name)
