"""A connection is there within a limit, or the host is unreachable: also one that takes it and says nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from compute.hypervisor.interface import Failed, Unreachable
from compute.hypervisor.libvirt import LibvirtHypervisor, opening

TEST = "test:///default"


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """libvirt's call does not return until the event is set."""
    woken = threading.Event()
    real = opening._open

    def slow(*args: Any) -> Any:
        opened.append(args)
        woken.wait()
        return real(*args)

    opened: list[Any] = []
    monkeypatch.setattr(opening, "_open", slow)
    monkeypatch.setattr(opening, "OPEN_SECONDS", 0.3)
    woken.opened = opened  # type: ignore[attr-defined]  # how often it was asked
    yield woken
    woken.set()


def test_a_host_that_says_nothing_is_unreachable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OPEN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        driver = LibvirtHypervisor(f"qemu+tcp://127.0.0.1:{silent.getsockname()[1]}/system")
        with pytest.raises(Unreachable, match=r"127.0.0.1 does not answer: its libvirt took no connection within 0.5"):
            driver.guests()


def test_one_attempt_is_enough_and_its_connection_is_used_when_it_comes(asleep: Any) -> None:
    driver = LibvirtHypervisor(TEST)
    for _ in range(3):
        with pytest.raises(Unreachable, match="This machine does not answer"):
            driver.guests()
    assert len(asleep.opened) == 1
    asleep.set()
    deadline = time.monotonic() + 20
    while True:
        try:
            assert len(driver.guests()) == 1
            break
        except Unreachable:
            assert time.monotonic() < deadline
    assert len(asleep.opened) == 1


def test_an_attempt_that_hangs_for_long_is_made_again(asleep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = LibvirtHypervisor(TEST)
    monkeypatch.setattr(opening, "GIVEN_UP_SECONDS", 0.0)
    for number in (1, 2):
        with pytest.raises(Unreachable):
            driver.guests()
        assert len(asleep.opened) == number


def test_a_connection_of_ones_own_is_bounded_too(asleep: Any) -> None:
    driver = LibvirtHypervisor(TEST)
    with pytest.raises(Unreachable):
        driver._session.another_connection()


def test_an_attempt_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, answers = opening._open, iter([Failed("not now"), None])

    def fails_once(*args: Any) -> Any:
        if error := next(answers):
            raise error
        return real(*args)

    monkeypatch.setattr(opening, "_open", fails_once)
    driver = LibvirtHypervisor(TEST)
    with pytest.raises(Failed, match="not now"):
        driver.guests()
    assert len(driver.guests()) == 1


def test_what_is_not_taken_is_not_connected_to() -> None:
    driver = LibvirtHypervisor("qemu+ssh://host/system?command=/bin/true")
    with pytest.raises(Unreachable, match="The parameter command is not taken"):
        driver.guests()
