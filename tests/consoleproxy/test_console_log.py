"""The console log, and what happens when its host does not give it."""

from __future__ import annotations

import time

import pytest

from compute.consoles import console_log
from compute.errors import Conflict
from compute.hosts import asking
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import Host, HostState, Instance


@pytest.fixture
def written(server, monkeypatch):
    """Make the guest have written these bytes."""
    hypervisor = hypervisor_of(server.host)

    def write(content: bytes) -> None:
        monkeypatch.setattr(hypervisor, "console_log", lambda uuid, size: content[-size:])

    return write


def test_what_the_guest_wrote(server):
    assert console_log(server).startswith(f"[    0.000000] {server.domain_name} booted")


@pytest.mark.parametrize(
    ("length", "text"),
    [(None, "a\nb\nc\n"), (-1, "a\nb\nc\n"), (0, ""), (1, ""), (2, "c\n"), (3, "b\nc\n"), (10**9, "a\nb\nc\n")],
)
def test_the_last_lines(server, written, length, text):
    """As Nova counts them: the text is split at line feeds, so the empty end counts as one."""
    written(b"a\nb\nc\n")
    assert console_log(server, length) == text


def test_bytes_that_are_no_text_are_replaced(server, written):
    written(b"ok \xff\xfe end\x00")
    assert console_log(server) == "ok \ufffd\ufffd end\x00"


def test_no_more_than_100_kib(server, written):
    written(b"x" * 1_000_000)
    assert len(console_log(server)) == 102_400


def test_markup_and_escapes_come_as_they_are_for_the_page_to_escape(server, written):
    written(b"<img src=x onerror=alert(1)>\x1b[31m")
    assert console_log(server) == "<img src=x onerror=alert(1)>\x1b[31m"


def test_an_instance_without_a_host_is_not_ready(server):
    Instance.objects.filter(pk=server.pk).update(host=None)
    server.refresh_from_db()
    with pytest.raises(Conflict, match=f"Instance {server.pk} is not ready"):
        console_log(server)


def test_a_host_that_is_down_is_not_asked(server, monkeypatch):
    Host.objects.update(state=HostState.DOWN)
    server.host.refresh_from_db()
    monkeypatch.setattr(asking, "hypervisor_of", lambda host: pytest.fail("it was asked"))
    with pytest.raises(Conflict, match="is down"):
        console_log(server)


def test_a_guest_that_is_not_there_yet_is_not_ready(server):
    hypervisor_of(server.host).inject(Fault("console_log", error="Gone"))
    with pytest.raises(Conflict, match="is not ready"):
        console_log(server)


def test_a_host_that_does_not_answer_is_said_so(server):
    hypervisor_of(server.host).inject(Fault("console_log", error="Unreachable"))
    with pytest.raises(Conflict, match="does not answer"):
        console_log(server)


def test_a_silent_host_holds_up_nobody_for_long(server, monkeypatch):
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.3)
    hypervisor_of(server.host).inject(Fault("console_log", do="hang", seconds=2.0, times=3))
    started = time.monotonic()
    with pytest.raises(Conflict, match="does not answer"):
        console_log(server)
    assert time.monotonic() - started < 1.5
