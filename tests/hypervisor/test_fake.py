"""The fake host's own: trouble on order, sharing between processes, size by URI."""

from __future__ import annotations

import io
import multiprocessing
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.hypervisor.fake import FakeHypervisor
from compute.hypervisor.fake.faults import FOR_EVER, Fault
from compute.hypervisor.interface import Failed, Guest, GuestEvent, NoSpace, PowerState, Unreachable

CONTEXT = multiprocessing.get_context("spawn")


@pytest.fixture
def fake() -> Iterator[FakeHypervisor]:
    driver = FakeHypervisor(f"fake://{uuid.uuid4()}")
    yield driver
    driver.forget()
    driver.close()


@pytest.fixture
def shared(tmp_path: Path) -> str:
    return f"fake://{tmp_path}/hosts.sqlite3?host=one&vcpus=2"


def guest(memory_mb: int = 512) -> Guest:
    identity = uuid.uuid4()
    return Guest(identity, f"instance-{identity.hex[:8]}", "title", vcpus=1, memory_mb=memory_mb)


def test_the_uri_says_how_large_the_host_is() -> None:
    facts = FakeHypervisor("fake://big?vcpus=96&memory=524288&disk=4000").facts()
    assert (facts.hostname, facts.vcpus, facts.memory_mb, facts.disk_gb) == ("big", 96, 524_288, 4000)


def test_two_drivers_of_a_uri_are_one_host(fake: FakeHypervisor) -> None:
    one = guest()
    FakeHypervisor(fake.uri).define(one)
    assert one.uuid in fake.guests()
    assert one.uuid not in FakeHypervisor("fake://another").guests()


def test_the_nth_call_fails(fake: FakeHypervisor) -> None:
    fake.inject(Fault("create_volume", call=2, error="NoSpace"))
    fake.create_volume("a", 1)
    with pytest.raises(NoSpace, match="create_volume was told to fail"):
        fake.create_volume("b", 1)
    fake.create_volume("c", 1)
    assert list(fake.volumes()) == ["a", "c"]


def test_a_fault_after_the_work_leaves_the_work(fake: FakeHypervisor) -> None:
    fake.inject(Fault("create_volume", when="after", error="Unreachable", times=FOR_EVER))
    for name in ("a", "b"):
        with pytest.raises(Unreachable):
            fake.create_volume(name, 1)
    fake.heal()
    assert list(fake.volumes()) == ["a", "b"]


def test_any_verb_can_be_hit(fake: FakeHypervisor) -> None:
    fake.inject(Fault("*", call=3))
    fake.facts()
    fake.volumes()
    with pytest.raises(Failed):
        fake.usage()


def test_a_hang_ends(fake: FakeHypervisor) -> None:
    fake.inject(Fault("facts", do="hang", seconds=0.2))
    before = time.monotonic()
    fake.facts()
    assert time.monotonic() - before >= 0.2


def test_delays_come_from_the_uri() -> None:
    slow = FakeHypervisor(f"fake://{uuid.uuid4()}?delay.facts=0.1&delay=0.01")
    before = time.monotonic()
    slow.volumes()
    assert time.monotonic() - before < 0.1
    slow.facts()
    assert time.monotonic() - before >= 0.11


def test_calls_are_recorded(fake: FakeHypervisor) -> None:
    one = guest()
    fake.define(one)
    fake.start(one.uuid)
    fake.guests()
    assert fake.calls() == [f"define {one.uuid}", f"start {one.uuid}"]


def test_a_host_that_is_down_answers_nobody(fake: FakeHypervisor) -> None:
    lost: list[str] = []
    fake.watch(lambda event: None, lost.append)
    fake.break_down("power cut")
    with pytest.raises(Unreachable, match="power cut"):
        fake.guests()
    deadline = time.monotonic() + 5
    while not lost and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lost == ["power cut"]
    fake.heal()
    assert fake.guests() == {}


def test_memory_is_bounded() -> None:
    small = FakeHypervisor(f"fake://{uuid.uuid4()}?memory=1000")
    first, second = guest(memory_mb=600), guest(memory_mb=600)
    for one in (first, second):
        small.define(one)
    small.start(first.uuid)
    with pytest.raises(NoSpace):
        small.start(second.uuid)


def test_a_deaf_guest_takes_its_grace() -> None:
    deaf = FakeHypervisor(f"fake://{uuid.uuid4()}?deaf=1")
    one = guest()
    deaf.define(one)
    deaf.start(one.uuid)
    before = time.monotonic()
    deaf.stop(one.uuid, grace=0.2)
    assert time.monotonic() - before >= 0.2
    assert deaf.guests()[one.uuid].power_state == PowerState.SHUTDOWN


def test_paused_guests_keep_their_memory_and_suspended_ones_do_not() -> None:
    small = FakeHypervisor(f"fake://{uuid.uuid4()}?memory=1000")
    first, second = guest(memory_mb=600), guest(memory_mb=600)
    for one in (first, second):
        small.define(one)
    small.start(first.uuid)
    small.pause(first.uuid)
    with pytest.raises(NoSpace):
        small.start(second.uuid)
    small.suspend(first.uuid)
    small.start(second.uuid)
    with pytest.raises(NoSpace):
        small.resume(first.uuid)
    small.stop(second.uuid, grace=0)
    small.resume(first.uuid)
    assert small.guests()[first.uuid].power_state == PowerState.RUNNING


def test_what_the_guest_was_told(fake: FakeHypervisor) -> None:
    one = guest()
    fake.define(one)
    fake.start(one.uuid)
    fake.set_password(one.uuid, "root", "a secret")
    fake.inject_nmi(one.uuid)
    assert fake.passwords(one.uuid) == {"root": "a secret"}
    assert b"NMI" in fake.console_log(one.uuid)
    assert not [call for call in fake.calls() if "secret" in call]


def test_a_serial_port_says_back_what_it_hears(fake: FakeHypervisor) -> None:
    one = guest()
    fake.define(one)
    fake.start(one.uuid)
    port = fake.serial(one.uuid)
    port.send(b"hello")
    assert port.receive(3) + port.receive(3) == b"hello"
    assert b"booted on" in fake.console_log(one.uuid)
    assert fake.console_log(one.uuid, 4) == fake.console_log(one.uuid)[-4:]


def test_large_contents_read_as_zeros(fake: FakeHypervisor) -> None:
    size = 5 * 1024**2
    fake.upload("large", io.BytesIO(b"x" * size), size)
    assert b"".join(fake.download("large")) == bytes(size)


def _define_in_another_process(uri: str, one: Guest) -> None:
    driver = FakeHypervisor(uri)
    driver.define(one)
    driver.start(one.uuid)


def test_processes_share_a_host_in_a_file(shared: str) -> None:
    events: list[GuestEvent] = []
    here = FakeHypervisor(shared)
    here.watch(events.append, lambda reason: None)
    one = guest()
    other = CONTEXT.Process(target=_define_in_another_process, args=(shared, one))
    other.start()
    other.join()
    assert here.guests()[one.uuid].power_state == PowerState.RUNNING
    assert FakeHypervisor(shared.replace("host=one", "host=two")).guests() == {}
    deadline = time.monotonic() + 5
    while len(events) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [event.kind.value for event in events] == ["defined", "started"]
    here.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_ends_the_process_at_that_very_call(shared: str, when: str) -> None:
    here = FakeHypervisor(shared)
    here.inject(Fault("start", do="kill", when="after" if when == "after" else "before"))
    one = guest()
    other = CONTEXT.Process(target=_define_in_another_process, args=(shared, one))
    other.start()
    other.join()
    assert other.exitcode == -signal.SIGKILL
    seen = here.guests()[one.uuid].power_state
    assert seen == (PowerState.RUNNING if when == "after" else PowerState.SHUTDOWN)


def test_a_thousand_hosts_are_no_trouble() -> None:
    hosts = [FakeHypervisor(f"fake://host-{uuid.uuid4()}?vcpus=64") for _ in range(1000)]
    before = time.monotonic()
    for host in hosts:
        host.define(guest())
        assert len(host.guests()) == 1
    assert time.monotonic() - before < 10
    for host in hosts:
        host.forget()
