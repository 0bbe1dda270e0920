"""The way from one host to another: encrypted, between trusted addresses, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from compute.hosts.crossings import NoWay, Way, migration_address, way_between
from compute.models import Host


def host(uri: str, **fields: Any) -> Host:
    return Host(name=uri.rpartition("//")[2].partition("/")[0] or "local", uri=uri, **fields)


@pytest.fixture(autouse=True)
def trust(settings: Any) -> None:
    """One network is trusted."""
    settings.TRUSTED_HOSTS = ["10.99.0.0/24", "fd99::/64"]


A, B = "qemu+tcp://10.99.0.11/system", "qemu+tcp://10.99.0.12/system"


@pytest.mark.parametrize(
    ("source", "target", "way"),
    [
        (host(A), host(B), Way("10.99.0.12", False)),
        (host(A), host("qemu+tcp://[fd99::2]/system"), Way("fd99::2", False)),
        (host("qemu+tls://a.example/system"), host("qemu+tls://b.example:16999/system"), Way("b.example", True)),
        (host("qemu+tls://a/system"), host("qemu+tls://b/system", migration_address="10.1.1.1"), Way("10.1.1.1", True)),
        (host("qemu+ssh://root@10.99.0.5/system"), host(B), Way("10.99.0.12", False)),
        (host("qemu:///system", migration_address="10.99.0.1"), host(B), Way("10.99.0.12", False)),
        (host(A), host("qemu:///system", console_address="10.99.0.1"), Way("10.99.0.1", False)),
        (host("fake://one"), host("fake://two"), Way("two", False)),
    ],
)
def test_the_way(source: Host, target: Host, way: Way) -> None:
    assert way_between(source, target) == way


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (host(A), host("qemu+tcp://192.0.2.7/system"), r"192.0.2.7 \(192.0.2.7\) unencrypted"),
        (host("qemu+tcp://192.0.2.7/system"), host(B), "NACELLE_TRUSTED_HOSTS"),
        (host("qemu+tls://10.1.1.1/system"), host(B), "unencrypted"),  # one of two with certificates is none
        (host("qemu+ssh://192.0.2.7/system"), host(B), "unencrypted"),
        (host("qemu:///system"), host(B), "No other host reaches system at 127.0.0.1"),
        (host(A), host("qemu:///system"), "migration address"),
        (host(A), host(B, migration_address="192.0.2.9"), r"\(192.0.2.9\) unencrypted"),
        (host("qemu+ssh://no.such.name.invalid/system"), host(B), "could not be resolved"),
        (host("fake://one"), host(B), "of another kind"),
    ],
)
def test_there_is_none(source: Host, target: Host, sentence: str) -> None:
    with pytest.raises(NoWay, match=sentence):
        way_between(source, target)


def test_a_page_asks_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compute.hypervisor.ways.socket.getaddrinfo", lambda *_, **__: pytest.fail("it was asked"))
    assert way_between(host("qemu+ssh://a.example/system"), host(B), look_up=False) == Way("10.99.0.12", False)
    with pytest.raises(NoWay):
        way_between(host(A), host("qemu+tcp://192.0.2.7/system"), look_up=False)


def test_where_others_reach_it() -> None:
    assert migration_address(host(A)) == "10.99.0.11"
    assert migration_address(host(A, migration_address="10.3.3.3")) == "10.3.3.3"
