"""Up, silent and down: who writes it, who goes by it, and that one host that hangs holds up no other."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compute.hosts.connections import hypervisor_of
from compute.hosts.liveness import Silent, check_answers, mark_answering, mark_silent, write_heartbeats
from compute.hosts.service import set_forced_down
from compute.hosts.watch import HostWatch
from compute.hosts.watcher import Watcher
from compute.hypervisor.fake.faults import FOR_EVER, Fault, hanging
from compute.hypervisor.interface import Unreachable
from compute.models import Action, Change, Host, HostEvent, Instance
from compute.operations import OPERATIONS, doorbell
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from compute.operations.worker import perform
from portal.identity.actor import SYSTEM
from scheduler import cache, claims
from scheduler.pick import Request, evaluate, place
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db(transaction=True)
COMPUTE = "/compute/v2.1"


def unheard(host: Host) -> None:
    """The watcher died while the host was up."""
    Host.objects.filter(pk=host.pk).update(state="up", last_seen_at=timezone.now() - timedelta(minutes=5))
    host.refresh_from_db()


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def wanted(cloud: Cloud, name: str = "web") -> BootRequest:
    return BootRequest(name=name, flavor_id=cloud.nano.id, image_id=str(cloud.image.id))


# a watcher that is dead as a whole ------------------------------------------------------------------------
def test_what_the_watcher_wrote_long_ago_counts_for_nothing(cloud: Cloud) -> None:
    assert cloud.host.is_up
    unheard(cloud.host)
    assert (cloud.host.is_up, cloud.host.state_now, cloud.host.is_unheard) == (False, "down", True)
    assert "watcher" in cloud.host.why_down
    assert not Host.objects.up().exists()
    assert list(Host.objects.unheard()) == [cloud.host]
    Host.objects.update(last_seen_at=timezone.now())
    assert Host.objects.get().is_up and Host.objects.up().exists() and not Host.objects.unheard().exists()


def test_who_is_down_says_why(cloud: Cloud) -> None:
    for fields, state, why in (
        ({}, "up", ""),
        ({"forced_down": True}, "down", "An administrator says that it is down."),
        ({"state": "down", "state_reason": "no route to host"}, "down", "no route to host"),
        ({"state": "new", "state_reason": ""}, "new", ""),
    ):
        Host.objects.update(**{"state": "up", "forced_down": False, **fields})
        host = Host.objects.get()
        assert (host.state_now, host.why_down) == (state, why)
        assert Host.objects.up().exists() == host.is_up == (state == "up")


def test_apis_and_pages_show_it(cloud: Cloud, root: Persona, browse_as: Callable[[Persona], Any]) -> None:
    unheard(cloud.host)
    (one,) = root.get(f"{COMPUTE}/os-hypervisors/detail").json()["hypervisors"]
    (service,) = root.get(f"{COMPUTE}/os-services").json()["services"]
    (own,) = root.get("/nacelle/v1/hosts").json()["hosts"]
    zone = root.get(f"{COMPUTE}/os-availability-zone/detail").json()["availabilityZoneInfo"][0]
    assert (one["state"], service["state"], own["state"]) == ("down", "down", "down")
    assert "watcher" in own["state_reason"]
    assert zone["hosts"]["host-1"]["nova-compute"]["available"] is False
    browser = browse_as(root)
    for path in ("/", "/cloud/hosts/", f"/cloud/hosts/{cloud.host.pk}/", "/cloud/capacity/"):
        page = browser.get(path).content.decode()
        assert "down" in page, path
    assert "the watcher may be down itself" in browser.get("/cloud/hosts/").content.decode()


@pytest.fixture
def browse_as() -> Callable[[Persona], Any]:
    def browse(persona: Persona) -> Any:
        persona.client.force_login(persona.user)
        return persona.client

    return browse


@pytest.mark.parametrize("hosts", [1, cache.CACHED_FROM + 1])
def test_nothing_is_placed_there(cloud: Cloud, hosts: int, django_assert_max_num_queries: Any) -> None:
    """Also where the scheduler keeps its views: no row has changed since the last decision."""
    Host.objects.bulk_create(
        Host(name=f"more-{number}", uri=f"fake://more-{number}", state="up", vcpus=8, memory_mb=8192, disk_gb=100)
        for number in range(hosts - 1)
    )
    asked = Request(vcpus=1, memory_mb=64, disk_gb=1, zone="nova")
    cache.hosts.forget()
    assert len(evaluate(asked).hosts) == hosts
    Host.objects.update(last_seen_at=timezone.now() - timedelta(minutes=5))
    with django_assert_max_num_queries(14):
        found = evaluate(asked)
    assert found.hosts == []
    assert "the watcher may be down itself" in str(found.explanation.as_json())
    assert not claims.take(cloud.host.pk, vcpus=1, memory_mb=64, disk_gb=1)
    assert place(asked).host is None
    Host.objects.update(last_seen_at=timezone.now())
    assert len(evaluate(asked).hosts) == hosts


# what the watcher writes ------------------------------------------------------------------------------------
def test_heartbeats_of_all_hosts_are_one_update(cloud: Cloud) -> None:
    for number in range(5):
        Host.objects.create(name=f"more-{number}", uri=f"fake://more-{number}", state="up")
    hosts = list(Host.objects.order_by("pk"))
    silences = {host.pk: 0.5 for host in hosts[1:]} | {hosts[0].pk: 99.0}
    with CaptureQueriesContext(connection) as asked:
        write_heartbeats(silences)
    assert sum(query["sql"].startswith("UPDATE") for query in asked) == 1
    assert Host.objects.get(pk=hosts[0].pk).last_seen_at is None
    assert Host.objects.filter(last_seen_at__isnull=False).count() == 5
    assert not Change.objects.exists()


@pytest.fixture
def watched(cloud: Cloud, far: Host, tmp_path: Path, settings: Any) -> Iterator[tuple[Host, Host]]:
    """Two hosts with a watcher that runs."""
    settings.HOST_SAMPLE_SECONDS, settings.HOST_SILENT_AFTER_SECONDS, settings.HOST_DOWN_AFTER_SECONDS = 1, 4.5, 60
    for name, host in (("first", cloud.host), ("second", far)):
        host.uri = f"fake://{tmp_path}/{name}.sqlite3?host={name}&memory=4096"
        host.state = "new"
        host.save()
    watcher = Watcher()
    thread = threading.Thread(target=run, args=(watcher,))
    thread.start()
    try:
        until(lambda: Host.objects.up().count() == 2, "both are up")
        yield cloud.host, far
    finally:
        for host in (cloud.host, far):
            hypervisor_of(host).heal()  # type: ignore[attr-defined]  # it is a fake one
        hanging.end()
        watcher.stopping.set()
        thread.join()
        for watch in watcher.watches.values():
            watch.join()


def run(watcher: Watcher) -> None:
    from django.db import connection

    try:
        watcher.run()
    finally:
        connection.close()


def hang(host: Host) -> None:
    """From now on no call to it returns."""
    hypervisor_of(host).inject(Fault("*", do="hang", times=FOR_EVER))  # type: ignore[attr-defined]  # it is a fake one


def test_a_host_that_hangs_is_silent_then_down_and_no_other_is(watched: tuple[Host, Host], settings: Any) -> None:
    one, other = watched
    hang(one)
    until(lambda: Host.objects.get(pk=one.pk).silent_since is not None, "it is silent")
    assert Host.objects.get(pk=one.pk).is_up  # it may answer in a moment
    settings.HOST_DOWN_AFTER_SECONDS = 7
    until(lambda: Host.objects.get(pk=one.pk).state == "down", "it is down")
    assert Host.objects.get(pk=one.pk).state_reason == "No answer for 7 s."
    before = timezone.now()
    until(lambda: Host.objects.get(pk=other.pk).last_seen_at > before, "the other is heard")
    assert Host.objects.get(pk=other.pk).silent_since is None
    hypervisor_of(one).heal()  # type: ignore[attr-defined]  # it is a fake one
    until(lambda: Host.objects.get(pk=one.pk).is_up, "it is back")
    assert Host.objects.get(pk=one.pk).silent_since is None


def test_a_call_that_takes_long_is_no_silence(watched: tuple[Host, Host]) -> None:
    """The host answers whoever else asks: it is only busy."""
    one, _ = watched
    hypervisor_of(one).inject(Fault("usage", do="hang", times=FOR_EVER))  # type: ignore[attr-defined]  # it is a fake one
    until(lambda: hanging_now() > 0, "its watch waits")
    before = timezone.now() + timedelta(seconds=8)
    until(lambda: Host.objects.get(pk=one.pk).last_seen_at > before, "it is heard all the same")
    assert Host.objects.get(pk=one.pk).silent_since is None


def hanging_now() -> int:
    return sum(thread in hanging for thread in threading.enumerate())


def test_a_lost_database_takes_no_host_down(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def lost(self: HostWatch) -> None:
        self.stopping.set()
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(HostWatch, "_follow", lost)
    HostWatch(cloud.host).run()
    assert Host.objects.get().state == "up"


# what the others go by --------------------------------------------------------------------------------------
def test_who_is_called(cloud: Cloud) -> None:
    check_answers(cloud.host.pk)
    mark_silent(cloud.host.pk)
    with pytest.raises(Silent):
        check_answers(cloud.host.pk)
    check_answers(cloud.host.pk, patience=60)
    mark_answering(cloud.host.pk)
    check_answers(cloud.host.pk)
    unheard(cloud.host)
    with pytest.raises(Unreachable, match="host-1 is down"):
        check_answers(cloud.host.pk, patience=60)
    assert Change.objects.filter(kind="host").count() == 2


@pytest.fixture
def instance(cloud: Cloud, alice: Persona, drain: Callable[[], int]) -> Instance:
    (instance,) = create(alice.actor, wanted(cloud))
    drain()
    instance.refresh_from_db()
    assert instance.vm_state == "active"
    return instance


@pytest.mark.parametrize("how", ["silent", "down"])
def test_an_operation_waits_in_its_row_until_its_host_answers(
    cloud: Cloud, instance: Instance, drain: Callable[[], int], how: str
) -> None:
    driver: Any = hypervisor_of(cloud.host)
    action = request(OPERATIONS["stop"], instance, SYSTEM)
    before = driver.calls()
    if how == "silent":
        mark_silent(cloud.host.pk)
    else:
        unheard(cloud.host)
    perform(action.pk, "compute")
    action.refresh_from_db()
    assert (action.state, action.lease_owner, action.attempts) == ("running", "", 0)
    assert "a host" in action.message and "host-1" not in action.message
    assert driver.calls() == before
    Host.objects.update(silent_since=None, last_seen_at=timezone.now())
    drain()
    assert Instance.objects.get().vm_state == "stopped"


def test_a_worker_that_waits_for_a_call_goes_on_when_the_host_falls_silent(cloud: Cloud, instance: Instance) -> None:
    driver: Any = hypervisor_of(cloud.host)
    driver.inject(Fault("destroy", do="hang"))
    action = request(OPERATIONS["reboot_hard"], instance, SYSTEM)
    worker = threading.Thread(target=work_on, args=(action.pk,))
    worker.start()
    until(lambda: hanging_now() == 1, "the call hangs")
    mark_silent(cloud.host.pk)
    worker.join(60)
    assert not worker.is_alive()
    action.refresh_from_db()
    assert (action.state, action.lease_owner) == ("running", "")
    driver.heal()
    hanging.end()
    mark_answering(cloud.host.pk)
    perform(action.pk, "compute")
    instance.refresh_from_db()
    assert (instance.vm_state, instance.task_state) == ("active", None)


def work_on(action_id: int) -> None:
    from django.db import connection

    try:
        perform(action_id, "compute")
    finally:
        connection.close()


def test_a_boot_leaves_a_silent_host_for_another(cloud: Cloud, far: Host, alice: Persona) -> None:
    (instance,) = create(alice.actor, wanted(cloud))
    Host.objects.filter(pk=cloud.host.pk).update(silent_since=timezone.now(), memory_mb=64_000)  # it is the better one
    perform(Action.objects.get().pk, "transfer")
    instance.refresh_from_db()
    assert (instance.vm_state, instance.host) == ("active", far)


def test_a_boot_waits_for_a_silent_host_where_there_is_no_other(
    cloud: Cloud, alice: Persona, drain: Callable[[], int]
) -> None:
    (instance,) = create(alice.actor, wanted(cloud))
    mark_silent(cloud.host.pk)
    perform(Action.objects.get().pk, "transfer")
    instance.refresh_from_db()
    assert (instance.vm_state, Action.objects.get().state) == ("building", "running")
    mark_answering(cloud.host.pk)
    drain()
    instance.refresh_from_db()
    assert instance.vm_state == "active"


def test_the_janitor_does_not_ring_for_what_waits_for_a_silent_host(cloud: Cloud, instance: Instance) -> None:
    action = request(OPERATIONS["stop"], instance, SYSTEM)

    def untouched(seconds: float) -> None:
        Action.objects.filter(pk=action.pk).update(updated_at=timezone.now() - timedelta(seconds=seconds))

    mark_silent(cloud.host.pk)
    untouched(20)
    assert doorbell.sweep() == 0
    untouched(40)
    assert doorbell.sweep() == 1  # it may be past its limit
    untouched(20)
    Action.objects.filter(pk=action.pk).update(cancelled_by="alice")
    assert doorbell.sweep() == 1
    Action.objects.filter(pk=action.pk).update(cancelled_by="")
    untouched(20)
    mark_answering(cloud.host.pk)
    assert doorbell.sweep() == 1
    untouched(20)
    unheard(cloud.host)
    assert doorbell.sweep() == 0
    Instance.objects.update(host=None)
    assert doorbell.sweep() == 1


def test_a_deletion_does_not_wait_for_a_host_that_nobody_watches(
    cloud: Cloud, instance: Instance, drain: Callable[[], int]
) -> None:
    unheard(cloud.host)
    request(OPERATIONS["delete"], instance, SYSTEM)
    drain()
    assert Instance.objects.get().deleted_at is not None


def test_an_image_waits_for_a_silent_host(cloud: Cloud) -> None:
    from compute.images import deliver
    from compute.models import ImageDelivery

    row = ImageDelivery.objects.create(host=cloud.host, image=cloud.image, next_at=timezone.now())
    mark_silent(cloud.host.pk)
    deliver.work(row.pk)
    row.refresh_from_db()
    assert (row.tries, "does not answer" in row.message) == (1, True)
    mark_answering(cloud.host.pk)
    deliver.work(row.pk)
    assert not ImageDelivery.objects.exists()
    assert hypervisor_of(cloud.host).has_base(cloud.image.base_volume)


@pytest.mark.parametrize("how", ["nobody watched it", "fenced", "said to be down"])
def test_a_host_that_was_given_up_comes_back_as_any_other_does(watched: tuple[Host, Host], how: str) -> None:
    """Others may have started its guests elsewhere meanwhile: its watch begins anew, with all that goes with it."""
    one, _ = watched
    rows, before = Host.objects.filter(pk=one.pk), HostEvent.objects.count()
    if how == "nobody watched it":
        rows.update(last_seen_at=timezone.now() - timedelta(minutes=5))
    elif how == "fenced":
        rows.update(fenced_at=timezone.now())
    else:
        set_forced_down(SYSTEM, one, forced_down=True)
        assert rows.get().state_now == "down"
        set_forced_down(SYSTEM, one, forced_down=False)
        assert rows.get().state_now == "down"  # not for a moment is it sent anything before it was looked at
    until(lambda: rows.get().is_up and HostEvent.objects.count() >= before + 2, "it went down and came back")
    assert HostEvent.objects.first().message.startswith("It answers again.")  # type: ignore[union-attr]  # it is there
    assert (rows.get().is_up, rows.get().fenced_at, rows.get().down_since) == (True, None, None)


def test_a_new_uri_gets_a_new_watch(watched: tuple[Host, Host], tmp_path: Path) -> None:
    one, _ = watched
    uri = f"fake://{tmp_path}/third.sqlite3?host={uuid.uuid4()}&memory=2048"
    Host.objects.filter(pk=one.pk).update(uri=uri, machine_uuid=None)
    until(lambda: Host.objects.get(pk=one.pk).memory_mb == 2048, "its facts are read anew")
