"""All instances of a host in one undertaking: evacuated from one that is off, by somebody or by itself."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts import fence_runs, fencing
from compute.hosts.connections import hypervisor_of
from compute.hosts.registration import learn, mark_down, mark_up
from compute.models import (
    OPEN_STATES,
    Action,
    Aggregate,
    Fencing,
    Host,
    HostEvent,
    HostState,
    Image,
    Instance,
    Relocation,
    RelocationItem,
)
from compute.operations import automatic, relocation_steps, relocations
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from compute.operations.power import Stop
from compute.operations.shelve import Shelve
from compute.operations.worker import perform
from compute.reconciliation import differences
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hosts(cloud: Any, tmp_path: Path, settings: Any) -> list[Host]:
    """Four, of which the first has everything."""
    settings.SHELVED_OFFLOAD_SECONDS = -1
    Host.objects.update(uri=f"fake://{tmp_path}/hosts.sqlite3?host=host-1")
    for number in (2, 3, 4):
        uri = f"fake://{tmp_path}/hosts.sqlite3?host=host-{number}"
        Host.objects.create(name=f"host-{number}", uri=uri, state=HostState.UP, vcpus=8, memory_mb=32_768, disk_gb=500)
    for host in Host.objects.all():
        learn(host)
    return list(Host.objects.order_by("name"))


@pytest.fixture
def several(cloud: Any, hosts: list[Host], alice: Any, drain: Any) -> list[Instance]:
    """Five that run on the first host."""
    Host.objects.exclude(name="host-1").update(enabled=False)
    wanted = BootRequest(name="web", flavor_id="42", image_id=str(cloud.image.id), min_count=5, max_count=5)
    create(alice.actor, wanted)
    drain()
    Host.objects.update(enabled=True)
    return list(Instance.objects.order_by("name"))


def lose(host: Host, fenced: bool = True, ago: float = 0) -> None:
    hypervisor_of(host).break_down()
    mark_down(host.pk, "no route to host")
    Host.objects.filter(pk=host.pk).update(down_since=timezone.now() - timedelta(seconds=ago))
    if fenced:
        fencing.confirm_off(SYSTEM, host)


def work() -> int:
    """What the workers do: one round over the open operations."""
    actions = list(Action.objects.filter(state__in=OPEN_STATES).order_by("id"))
    for action in actions:
        perform(action.pk, action.progress.get("lane", "compute"))
        action.refresh_from_db()
        if action.state in OPEN_STATES:
            perform(action.pk, action.progress.get("lane", "compute"))
    return len(actions)


def see_to_the_end() -> Relocation:
    """The watcher and the workers, until it is over."""
    for _ in range(60):
        RelocationItem.objects.update(try_at=timezone.now())
        if not relocation_steps.advance():
            return Relocation.objects.get()
        work()
    raise AssertionError("it never ends")


def states() -> dict[str, str]:
    return {item.instance.name: item.state for item in RelocationItem.objects.select_related("instance")}


def test_all_instances_of_a_host_are_started_elsewhere(hosts, several, root, settings):
    settings.EVACUATE_AT_ONCE = 2
    request(Stop, several[4], SYSTEM)
    work()
    lose(hosts[0])
    made = relocations.evacuate_host(root.actor, hosts[0])
    assert made.items.count() == 5
    relocation_steps.advance()
    assert sorted(states().values()) == ["moving", "moving", "waiting", "waiting", "waiting"]
    relocation_steps.advance()
    assert sorted(states().values()) == ["moving", "moving", "waiting", "waiting", "waiting"]
    after = see_to_the_end()
    assert (after.state, set(states().values())) == ("done", {"done"})
    assert set(Instance.objects.values_list("vm_state", flat=True)) == {"active", "stopped"}
    assert not Instance.objects.filter(host=hosts[0]).exists()
    assert differences() == []
    said = list(HostEvent.objects.filter(kind="evacuation").order_by("id").values_list("message", "user_name"))
    assert said == [
        ("Its instances (5) are to be started elsewhere.", "root"),
        ("The evacuation is over: 5 left, 0 stayed.", ""),
    ]


def test_what_cannot_be_evacuated_says_why_and_can_be_tried_again(hosts, several, root):
    lose(hosts[0])
    Instance.objects.filter(pk=several[0].pk).update(vm_state="paused")
    Instance.objects.filter(pk=several[1].pk).update(vm_state="suspended")
    relocations.evacuate_host(root.actor, hosts[0])
    after = see_to_the_end()
    assert after.state == "incomplete"
    messages = {one.instance_id: one.message for one in RelocationItem.objects.filter(state="failed")}
    assert "It is paused; its memory was lost" in messages[several[0].pk]
    assert "It is suspended; its memory was lost" in messages[several[1].pk]
    Instance.objects.filter(vm_state__in=("paused", "suspended")).update(vm_state="active")
    relocations.retry(root.actor, after)
    assert see_to_the_end().state == "done"
    with pytest.raises(Conflict, match="nothing left"):
        relocations.retry(root.actor, after)


def test_what_is_shelved_leaves_without_another_host(hosts, several, root):
    request(Shelve, several[0], SYSTEM)
    work()
    assert Instance.objects.get(pk=several[0].pk).vm_state == "shelved"
    lose(hosts[0])
    relocations.evacuate_host(root.actor, hosts[0])
    assert see_to_the_end().state == "done"
    shelved = Instance.objects.get(pk=several[0].pk)
    assert (shelved.vm_state, shelved.host) == ("shelved_offloaded", None)
    assert differences() == []


def test_what_is_busy_is_waited_for(hosts, several, root):
    lose(hosts[0])
    Instance.objects.filter(pk=several[0].pk).update(task_state="resize_prep")
    relocations.evacuate_host(root.actor, hosts[0])
    for _ in range(8):
        RelocationItem.objects.update(try_at=timezone.now())
        relocation_steps.advance()
        work()
    assert sorted(states().values()) == ["done", "done", "done", "done", "waiting"]
    assert "resize prep" in RelocationItem.objects.get(state="waiting").message
    Instance.objects.filter(pk=several[0].pk).update(task_state=None)
    assert see_to_the_end().state == "done"


def test_it_can_be_stopped_and_goes_on_when_told(hosts, several, root, settings):
    settings.EVACUATE_AT_ONCE = 1
    lose(hosts[0])
    made = relocations.evacuate_host(root.actor, hosts[0])
    relocation_steps.advance()
    relocations.stop(root.actor, made)
    work()
    relocation_steps.advance()
    assert Instance.objects.filter(host=hosts[0]).count() == 4
    with pytest.raises(Conflict, match="ended already"):
        relocations.stop(root.actor, made)
    relocations.retry(root.actor, made)
    assert see_to_the_end().state == "done"


def test_one_undertaking_a_host(hosts, several, root):
    with pytest.raises(Invalid, match="still in use"):
        relocations.evacuate_host(root.actor, hosts[0])
    lose(hosts[0], fenced=False)
    with pytest.raises(Conflict, match="Fence it first"):
        relocations.evacuate_host(root.actor, hosts[0])
    fencing.confirm_off(SYSTEM, hosts[0])
    relocations.evacuate_host(root.actor, hosts[0])
    with pytest.raises(Conflict, match="being moved already"):
        relocations.evacuate_host(root.actor, hosts[0])
    assert Relocation.objects.count() == 1


def test_nothing_more_leaves_a_host_that_is_back(hosts, several, root, settings):
    settings.EVACUATE_AT_ONCE = 1
    lose(hosts[0])
    relocations.evacuate_host(root.actor, hosts[0])
    relocation_steps.advance()
    hypervisor_of(hosts[0]).heal()
    mark_up(Host.objects.get(pk=hosts[0].pk))
    relocation_steps.advance()
    work()
    assert Relocation.objects.get().state == "incomplete"
    assert set(Instance.objects.values_list("vm_state", "task_state")) == {("active", None)}
    assert HostEvent.objects.filter(message__startswith="The evacuation was given up.").exists()


def test_one_that_fails_stops_none_of_the_others(hosts, several, root, cloud):
    other = Image.objects.create(name="gone", project=cloud.demo, status="active")
    Instance.objects.filter(pk=several[0].pk).update(image=other)
    lose(hosts[0])
    relocations.evacuate_host(root.actor, hosts[0])
    relocation_steps.advance()
    other.delete()
    after = see_to_the_end()
    assert after.state == "incomplete"
    assert sorted(states().values()) == ["done", "done", "done", "done", "failed"]
    Instance.objects.filter(pk=several[0].pk).update(deleted_at=timezone.now(), vm_state="deleted")
    relocations.retry(root.actor, after)
    assert see_to_the_end().state == "done"


def test_a_watcher_that_dies_between_two_steps_loses_nothing(hosts, several, root, monkeypatch):
    lose(hosts[0])
    relocations.evacuate_host(root.actor, hosts[0])
    ask = relocation_steps.request_operation

    class Killed(BaseException):
        pass

    def die_after(*args: Any, **params: Any) -> Any:
        ask(*args, **params)
        raise Killed

    monkeypatch.setattr(relocation_steps, "request_operation", die_after)
    with pytest.raises(Killed):
        relocation_steps.advance()
    assert not Action.objects.filter(operation="evacuate").exists()
    assert set(states().values()) == {"waiting"}
    monkeypatch.setattr(relocation_steps, "request_operation", ask)
    assert see_to_the_end().state == "done"
    assert Action.objects.filter(operation="evacuate").count() == 5


def test_only_administrators_evacuate_a_host(hosts, several, alice, bob):
    lose(hosts[0])
    for persona in (alice, bob):
        with pytest.raises(Forbidden):
            relocations.evacuate_host(persona.actor, hosts[0])


# by itself ------------------------------------------------------------------------------------------
@pytest.fixture
def rack(hosts: list[Host], root: Any, settings: Any, tmp_path: Path) -> Aggregate:
    """All hosts are in an aggregate that asks for it, and can be switched off."""
    settings.FENCE_METHODS = str(tmp_path / "fence.json")
    log = tmp_path / "off"
    off = [sys.executable, "-c", "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + ' ')", str(log), "{name}"]
    Path(settings.FENCE_METHODS).write_text(json.dumps({"power": {"off": off}, "broken": {"off": ["/bin/false"]}}))
    for host in hosts:
        fencing.set_fence(root.actor, host, method="power", values={}, timeout=60)
    rack = Aggregate.objects.create(name="rack", metadata={"nacelle:evacuate": "true", "nacelle:evacuate_after": "60"})
    rack.hosts.set(hosts)
    return rack


@pytest.fixture
def watching() -> automatic.Automatic:
    """A watcher that has been looking for an hour, at every call."""
    one = automatic.Automatic()
    one._since = timezone.now() - timedelta(hours=1)
    return one


def look(watching: automatic.Automatic) -> None:
    watching._next_look = 0.0
    watching.look()


def run_fences() -> None:
    for row in Fencing.objects.filter(state="queued"):
        fence_runs.run(row.pk, fence_runs.take(row.pk))


def switched_off(tmp_path: Path) -> list[str]:
    log = tmp_path / "off"
    return log.read_text().split() if log.exists() else []


def test_a_host_that_is_down_for_long_is_fenced_and_evacuated(hosts, several, rack, watching, tmp_path):
    lose(hosts[0], fenced=False, ago=59)
    look(watching)
    assert not Fencing.objects.exists()
    lose(hosts[0], fenced=False, ago=61)
    look(watching)
    look(watching)
    assert Fencing.objects.get().automatic and not Relocation.objects.exists()
    run_fences()
    assert switched_off(tmp_path) == ["host-1"]
    look(watching)
    look(watching)
    assert Relocation.objects.get().automatic
    assert see_to_the_end().state == "done"
    look(watching)
    assert Relocation.objects.count() == Fencing.objects.count() == 1
    said = list(HostEvent.objects.filter(host=hosts[0]).order_by("id").values_list("message", flat=True))
    assert said[-4:] == [
        "It is to be switched off by power.",
        "Switched off by power.",
        "Its instances (5) are to be started elsewhere.",
        "The evacuation is over: 5 left, 0 stayed.",
    ]


def test_never_without_a_confirmed_fence(hosts, several, rack, watching, root):
    fencing.set_fence(root.actor, hosts[0], method="broken", values={}, timeout=60)
    lose(hosts[0], fenced=False, ago=600)
    for _ in range(10):
        Fencing.objects.update(created_at=timezone.now() - timedelta(minutes=2))
        look(watching)
        run_fences()
    assert not Relocation.objects.exists()
    assert Fencing.objects.count() == 3
    assert HostEvent.objects.filter(message=automatic.GIVEN_UP).count() == 1


def test_without_a_method_it_only_says_so(hosts, several, rack, watching, root):
    fencing.set_fence(root.actor, hosts[0], method="", values={}, timeout=60)
    lose(hosts[0], fenced=False, ago=600)
    for _ in range(3):
        look(watching)
    assert not Fencing.objects.exists() and not Relocation.objects.exists()
    assert HostEvent.objects.filter(message=automatic.NO_METHOD).count() == 1
    fencing.confirm_off(root.actor, hosts[0])  # by word is enough
    look(watching)
    assert Relocation.objects.get().automatic


@pytest.mark.parametrize(
    ("down", "most", "acts"), [(1, 2, True), (2, 2, True), (2, 1, False), (3, 9, False), (4, 9, False)]
)
def test_many_hosts_down_may_mean_that_it_is_us(hosts, several, rack, watching, settings, down, most, acts):
    settings.AUTO_EVACUATE_MOST_HOSTS = most
    for host in hosts[:down]:
        lose(host, fenced=False, ago=600)
    look(watching)
    assert Fencing.objects.exists() == acts
    said = HostEvent.objects.filter(message__contains="may be this machine that is cut off")
    assert said.exists() != acts
    if not acts:
        assert f"{down} of 4 hosts" in said[0].message


def test_one_after_the_other_cannot_get_round_that(hosts, several, rack, watching, settings):
    """Hosts that it has fenced still count."""
    settings.AUTO_EVACUATE_MOST_HOSTS = 1
    lose(hosts[0], fenced=False, ago=600)
    look(watching)
    run_fences()
    see = lambda: {row.host.name for row in Fencing.objects.select_related("host")}  # noqa: E731
    assert see() == {"host-1"}
    Instance.objects.filter(pk=several[0].pk).update(host=hosts[1])
    lose(hosts[1], fenced=False, ago=600)
    look(watching)
    assert see() == {"host-1"}


def test_what_people_know_to_be_off_does_not_count(hosts, several, rack, watching, settings, root):
    settings.AUTO_EVACUATE_MOST_HOSTS = 1
    Host.objects.filter(pk=hosts[1].pk).update(enabled=False, state="down")
    Host.objects.filter(pk=hosts[2].pk).update(forced_down=True, state="down")
    lose(hosts[0], fenced=False, ago=600)
    look(watching)
    assert Fencing.objects.get().host == hosts[0]


def test_a_watcher_that_has_just_begun_waits_as_long(hosts, several, rack):
    lose(hosts[0], fenced=False, ago=600)
    look(automatic.Automatic())
    assert not Fencing.objects.exists()


@pytest.mark.parametrize("metadata", [{}, {"nacelle:evacuate": "false"}, {"nacelle:evacuate_after": "1"}])
def test_only_where_an_aggregate_asks_for_it(hosts, several, rack, watching, metadata):
    Aggregate.objects.update(metadata=metadata)
    lose(hosts[0], fenced=False, ago=600)
    look(watching)
    assert not Fencing.objects.exists()


def test_the_time_is_the_shortest_that_makes_sense(hosts, rack, settings):
    settings.AUTO_EVACUATE_AFTER_SECONDS = 200
    other = Aggregate.objects.create(name="other", metadata={"nacelle:evacuate": "yes"})
    other.hosts.set(hosts[:2])
    rack.hosts.set(hosts[1:])
    found = automatic.delays()
    assert [found[host.pk] for host in hosts] == [200, 60, 60, 60]
    Aggregate.objects.update(metadata={"nacelle:evacuate": "true", "nacelle:evacuate_after": "soon"})
    assert set(automatic.delays().values()) == {200}


def test_a_host_without_instances_is_left_alone(hosts, rack, watching):
    lose(hosts[0], fenced=False, ago=600)
    look(watching)
    assert not Fencing.objects.exists()
