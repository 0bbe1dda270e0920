"""Every call that an operation makes to the driver fails, hangs or kills its worker: afterwards all must be sound."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from compute import quota
from compute.hosts.calls import Call
from compute.hosts.connections import hypervisor_of
from compute.hosts.storage import identify
from compute.hosts.watch import HostWatch
from compute.hypervisor.fake import faults
from compute.hypervisor.fake.faults import Fault, hanging
from compute.models import OPEN_MIGRATIONS, OPEN_STATES, Action, Host, Instance, Migration
from compute.operations.create import BootRequest, create
from compute.operations.held import amounts
from compute.operations.layout import Layout
from compute.operations.worker import perform
from tests.engine.test_kill import perform_in_another_process

NEVER = 10**9
Act = Callable[[Instance], Any]


@pytest.fixture
def shared_host(cloud: Any, tmp_path: Path, settings: Any) -> Host:
    """A fake host that processes share, and leases that end soon."""
    settings.LEASE_SECONDS = 0.4
    cloud.host.uri = f"fake://{tmp_path}/host.sqlite3?host=shared"
    cloud.host.save()
    return cloud.host


@pytest.fixture(params=["apart", "together"])
def two_hosts(shared_host: Host, tmp_path: Path, settings: Any, request: pytest.FixtureRequest) -> list[Host]:
    """Two of the kind, with storage of their own or in common. An instance is booted on the first.

    The watcher removes at once what nobody needs.
    """
    settings.STATE_SYNC_SECONDS = 0
    storage = "&storage=one" if request.param == "together" else ""
    first, second = shared_host, Host(name="host-2", vcpus=8, memory_mb=16_384, disk_gb=400, state="up")
    for host in (first, second):
        host.uri = f"fake://{tmp_path}/host.sqlite3?host={host.name}{storage}"
        host.save()
        identify(host, hypervisor_of(host))
    return [first, second]


def boot(persona: Any, cloud: Any, **changes: Any) -> Instance:
    """An instance that runs."""
    wanted = {"name": "web", "flavor_id": cloud.nano.id, "image_id": str(cloud.image.id), **changes}
    (instance,) = create(persona.actor, BootRequest(**wanted))
    return finish(instance)


def finish(instance: Instance) -> Instance:
    """What the janitor and the workers do: look at every open row until none is left."""
    deadline = time.monotonic() + 30
    while (open_rows := Action.objects.filter(instance=instance, state__in=OPEN_STATES)).exists():
        assert time.monotonic() < deadline, "the operation never ends"
        for action in open_rows.order_by("id"):
            perform(action.pk, action.progress.get("lane", "compute"))
        if open_rows.exists():
            time.sleep(0.02)
    return Instance.objects.get(pk=instance.pk)


def do(instance: Instance, act: Act) -> Instance:
    """Ask for something, and see it to its end."""
    act(instance)
    return finish(instance)


def calls_made(host: Host, run: Callable[[], Any]) -> int:
    """How many calls of the driver this makes."""
    driver = hypervisor_of(host)
    driver.inject(Fault("*", call=NEVER))
    run()
    with driver._state.change() as state:
        seen = state["faults"][-1]["seen"]
    driver.heal()
    return int(seen)


def calls_to(hosts: list[Host], run: Callable[[], Any]) -> list[tuple[Host, int, bool]]:
    """Each call that this makes to a host: its number there, and whether it is one that changes something."""
    drivers: dict[int, Any] = {host.pk: hypervisor_of(host) for host in hosts}
    made: list[tuple[Host, int, str]] = []
    due = faults._due

    def noted(state: Any, verb: str) -> Any:
        for host in hosts:
            if drivers[host.pk]._state is state:
                made.append((host, sum(one[0] is host for one in made) + 1, verb))
        return due(state, verb)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "_due", noted)
        run()
    changing = {call.split()[0] for driver in drivers.values() for call in driver.calls()}
    return [(host, number, verb in changing) for host, number, verb in made]


def each_fault(calls: int, kinds: tuple[str, ...] = ("fail", "kill")) -> Iterator[tuple[str, int, str]]:
    """Every call, before and after it did its work, in each way."""
    for kind in kinds:
        for call in range(1, calls + 1):
            for when in ("before", "after"):
                yield kind, call, when


def strike(host: Host, instance: Instance, act: Act, fault: tuple[str, int, str]) -> Instance:
    """Ask for something that meets this fault, and see it to its end all the same."""
    kind, call, when = fault
    driver = hypervisor_of(host)
    driver.inject(Fault("*", call=call, do=kind, when=when))  # type: ignore[arg-type]  # the kinds are literals
    act(instance)
    if kind == "kill":
        _die(instance)
        driver.heal()
    instance = _outwaited(instance) if kind == "hang" else finish(instance)
    driver.heal()
    hanging.end()  # in the end it returns, after all
    return instance


def _die(instance: Instance) -> None:
    """Let workers die of it. Their lease's time is over then."""
    for _ in range(3):
        action = Action.objects.filter(instance=instance, state__in=OPEN_STATES).order_by("id").first()
        if action is None or perform_in_another_process(action):
            break
    over = timezone.now() - timedelta(seconds=1)
    Action.objects.filter(instance=instance).exclude(lease_owner="").update(lease_until=over)


def _outwaited(instance: Instance) -> Instance:
    """See what is open to its end; the time of a call that hangs is over as soon as it hangs."""

    def impatient(call: Call, until: float) -> Any:
        while call._thread not in hanging:
            with contextlib.suppress(queue.Empty):
                return call._said.get(timeout=0.01)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Call, "_next", impatient)
        return finish(instance)


def assert_sound(host: Host, instance: Instance, about: object = "") -> None:
    """Rows and host agree about this one instance, and nothing is left behind."""
    driver = hypervisor_of(host)
    seen = driver.guest(instance.id)
    assert instance.task_state is None, about
    assert seen is not None and int(seen.power_state) == instance.power_state, (about, seen, instance.power_state)
    running = instance.vm_state in ("active", "rescued") or (instance.vm_state == "resized" and instance.power_state)
    assert (instance.power_state == 1) == bool(running) or instance.vm_state == "resized", (about, instance.vm_state)
    open_ones = list(Migration.objects.filter(instance=instance, status__in=OPEN_MIGRATIONS))
    volumes = set(Layout.of(instance).volumes())
    for migration in open_ones:
        volumes |= set(Layout(instance.id, migration.old_flavor, migration.old_volume_names).volumes())
    assert set(driver.volumes(prefix=str(instance.id))) == volumes, about
    assert driver.disks(instance.id) == [one.volume for one in Layout.of(instance).disks()], about
    assert_counts(host, instance, open_ones, about)


def assert_counts(host: Host, instance: Instance, open_ones: list[Migration], about: object) -> None:
    """Claims and quota are the sum of what is there."""
    amounts = {"vcpus": instance.vcpus, "memory_mb": instance.memory_mb, "disk_gb": instance.disk_gb}
    held = dict(amounts)
    for migration in open_ones:
        old, new = migration.old_flavor, migration.new_flavor
        held["vcpus"], held["memory_mb"] = old["vcpus"] + new["vcpus"], old["memory_mb"] + new["memory_mb"]
        held["disk_gb"] = sum(one["disk_gb"] + one["ephemeral_gb"] + -(-one["swap_mb"] // 1024) for one in (old, new))
        amounts["vcpus"] = max(old["vcpus"], new["vcpus"])
        amounts["memory_mb"] = max(old["memory_mb"], new["memory_mb"])
    now = Host.objects.get(pk=host.pk)
    claimed = (now.vcpus_used, now.memory_mb_used, now.disk_gb_used, now.instances_used)
    assert claimed == (held["vcpus"], held["memory_mb"], held["disk_gb"], 1), about
    used = {"instances": 1, "cores": amounts["vcpus"], "memory_mb": amounts["memory_mb"]}
    assert quota.usage(instance.project_id) == used, about


def assert_gone(host: Host, instance: Instance) -> None:
    """Nothing of it is left anywhere."""
    driver = hypervisor_of(host)
    assert driver.guests() == {}
    assert driver.volumes(prefix=str(instance.id)) == {}
    now = Host.objects.get(pk=host.pk)
    assert (now.vcpus_used, now.memory_mb_used, now.disk_gb_used, now.instances_used) == (0, 0, 0, 0)
    assert quota.usage(instance.project_id) == {"instances": 0, "cores": 0, "memory_mb": 0}


def watched(hosts: list[Host]) -> None:
    """The watcher has looked at the hosts, and knows of all how their storage is now."""
    before = None
    while before != (before := set(Instance.objects.values_list("pk", "updated_at"))):
        for host in hosts:
            identify(Host.objects.get(pk=host.pk), hypervisor_of(host))
        for host in hosts:
            HostWatch(Host.objects.get(pk=host.pk))._sync(hypervisor_of(host), at_start=True)


def assert_sound_on(hosts: list[Host], instance: Instance, about: object = "") -> None:
    """Rows and all hosts agree about this one instance: one guest that may run, and nothing that nobody needs."""
    assert instance.task_state is None, about
    moves = list(Migration.objects.filter(instance=instance, status__in=OPEN_MIGRATIONS))
    left = {one.source_host_id for one in moves if one.moves} - {instance.host_id}
    expected = volumes_on(hosts, instance, moves)
    for host in hosts:
        driver = hypervisor_of(host)
        seen = driver.guest(instance.id)
        assert set(driver.volumes(prefix=str(instance.id))) == expected[host.pk], (about, host)
        if host.pk == instance.host_id:
            assert seen is not None and int(seen.power_state) == instance.power_state, (about, host, seen)
            assert driver.disks(instance.id) == [one.volume for one in Layout.of(instance).disks()], (about, host)
        elif host.pk in left:
            assert seen is None or int(seen.power_state) == 4, (about, host, seen)
        else:
            assert seen is None, (about, host, seen)
    assert_claims(hosts, instance, moves, about)


def is_sound_on(hosts: list[Host], instance: Instance) -> bool:
    """Whether it is so."""
    try:
        assert_sound_on(hosts, instance)
    except AssertionError:
        return False
    return True


def volumes_on(hosts: list[Host], instance: Instance, moves: list[Migration]) -> dict[int, set[str]]:
    """What there must be of volumes, by host: where hosts share their storage, the same."""
    storage = {host.pk: host.storage_id for host in hosts}
    found: dict[str, set[str]] = {name: set() for name in storage.values()}
    found[storage[instance.host_id]] |= set(Layout.of(instance).volumes())
    for one in moves:
        old = Layout(instance.id, one.old_flavor, one.old_volume_names)
        found[storage[one.source_host_id]] |= set(old.volumes())
    return {host.pk: found[storage[host.pk]] for host in hosts}


def assert_claims(hosts: list[Host], instance: Instance, moves: list[Migration], about: object) -> None:
    """Each host's claims and the quota are the sum of what is there."""
    wanted: dict[int, list[dict[str, Any]]] = {host.pk: [] for host in hosts}
    flavors, counts = [instance.flavor], dict.fromkeys(wanted, 0)
    counts[instance.host_id] += 1
    for one in moves:
        flavors = list(one.flavors)
        wanted[one.source_host_id].append(one.old_flavor)
        wanted[one.dest_host_id].append(one.new_flavor)
        counts = dict.fromkeys(counts, 0) | {one.source_host_id: 1, one.dest_host_id: 1}
    if not moves:
        wanted[instance.host_id] = [instance.flavor]
    for host in hosts:
        now = Host.objects.get(pk=host.pk)
        claimed = (now.vcpus_used, now.memory_mb_used, now.disk_gb_used, now.instances_used)
        sums = [sum(amounts(one)[name] for one in wanted[host.pk]) for name in ("vcpus", "memory_mb", "disk_gb")]
        assert claimed == (*sums, counts[host.pk]), (about, host)
    most = {name: max(one[name] for one in flavors) for name in ("vcpus", "memory_mb")}
    used = {"instances": 1, "cores": most["vcpus"], "memory_mb": most["memory_mb"]}
    assert quota.usage(instance.project_id) == used, about
