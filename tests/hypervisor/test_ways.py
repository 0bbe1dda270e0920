"""Which URIs are taken, and where a host may be reached without a key."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from compute.hypervisor import ways
from compute.hypervisor.ways import Refused, settled, trusted_networks

TRUSTED = trusted_networks(["10.99.0.0/24", " 192.0.2.7 ", "fd00::/64", ""])


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///system",
        "qemu+unix:///system?socket=/run/libvirt-sock",
        "qemu+ssh://host/system",
        "qemu+ssh://root@host.example.org:2222/system?keyfile=/k&known_hosts=/h&netcat=nc",
        "qemu+ssh://[2001:db8::1]/system",
        "qemu+tls://host/system",
        "qemu+tls://10.0.0.5:16000/system?pkipath=/etc/pki/ours",
        "qemu+tcp://10.99.0.11/system",
        "qemu+tcp://192.0.2.7:16000/system",
        "qemu+tcp://127.0.0.1/system",
        "qemu+tcp://[::1]/system",
        "qemu+tcp://[fd00::7]:1/system",
        "fake://a?vcpus=4",
        "test:///default",
    ],
)
def test_these_are_taken_as_they_are(uri: str) -> None:
    assert settled(uri, TRUSTED) == uri


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("", "without a scheme.*qemu\\+ssh://user@host/system"),
        ("host", "No driver for a URI without a scheme"),
        ("xen:///system", "No driver for xen"),
        ("qemu+libssh2://host/system", "No driver for qemu\\+libssh2"),
        ("qemu+ext:///system?command=/bin/true", "No driver for qemu\\+ext"),
        ("qemu://host/system", "does not say how to reach it"),
        ("qemu:///session", "The path is /system"),
        ("qemu+ssh://host", "The path is /system.*not empty"),
        ("qemu+ssh:///system", "must name a host"),
        ("qemu+unix://host/system", "names no host"),
        ("qemu+ssh://-oProxyCommand=x/system", "neither a host name nor an address"),
        ("qemu+ssh://a b/system", "neither a host name nor an address"),
        ("qemu+ssh://a..b/system", "neither a host name nor an address"),
        (f"qemu+tls://{'a' * 64}/system", "neither a host name nor an address"),
        ("qemu+ssh://$(id)/system", "neither a host name nor an address"),
        ("qemu+ssh://root:secret@host/system", "holds no password"),
        ("qemu+ssh://-l@host/system", "is no user name"),
        ("qemu+tls://root@host/system", "knows no users"),
        ("qemu+ssh://host/system?command=/bin/sh", "The parameter command is not taken"),
        ("qemu+ssh://host/system?no_verify=1", "no_verify=1 would take whoever answers"),
        ("qemu+tls://host/system?no_verify=1", "no_verify=1"),
        ("qemu+tcp://10.99.0.11/system?socket=/x", "may have: none"),
        ("qemu+ssh://host/system?keyfile=a%0ab", "cannot be printed"),
        ("qemu+ssh://host/system?socket=/x%3Btouch%20/tmp/y", "The value of socket is a path"),
        ("qemu+ssh://host/system?socket=/x$(id)", "The value of socket is a path"),
        ("qemu+ssh://host/system?netcat=nc%27%60id%60", "The value of netcat is a path"),
        ("qemu+ssh://host/system?netcat=-e", "The value of netcat is a path"),
        ("qemu+unix:///system?socket=", "The value of socket is a path"),
        ("qemu+tls://ho\nst/system", "holds what cannot be printed"),
        ("qemu+tls://[fe80::1%25';id;']/system", "neither a host name nor an address"),
        ("qemu+ssh://host/system#x", "no part after #"),
        ("qemu+ssh://host:99999/system", "That is no URI"),
        ("qemu+ssh://[::1/system", "That is no URI"),
        ("qemu+tcp://10.98.0.11/system", "10.98.0.11 is not trusted.*NACELLE_TRUSTED_HOSTS"),
        ("qemu+tcp://[fd01::7]/system", "fd01::7 is not trusted"),
        ("qemu+tcp://nowhere.invalid/system", "nowhere.invalid could not be resolved"),
    ],
)
def test_these_are_refused_with_what_to_do(uri: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        settled(uri, TRUSTED)


def test_only_loopback_is_trusted_unless_it_is_said() -> None:
    assert settled("qemu+tcp://127.8.8.8/system")
    with pytest.raises(Refused, match=r"10.99.0.11 is not trusted"):
        settled("qemu+tcp://10.99.0.11/system")


def test_a_name_is_looked_up_once_and_its_address_is_what_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["10.99.0.11", "203.0.113.9", "203.0.113.9"])

    def look_up(name: str, *args: Any, **kwargs: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    kept = settled("qemu+tcp://node-1:16000/system", TRUSTED)
    assert kept == "qemu+tcp://10.99.0.11:16000/system"
    assert settled(kept, TRUSTED) == kept  # and what the name says now does not matter
    with pytest.raises(Refused, match=r"203.0.113.9 is not trusted"):
        settled("qemu+tcp://node-1/system", TRUSTED)


def test_names_stay_where_keys_and_certificates_are_for_names() -> None:
    for uri in ("qemu+tls://node-1.example.org/system", "qemu+ssh://node-1.example.org/system"):
        assert settled(uri) == uri


@pytest.mark.parametrize("text", ["node-1", "10.0.0.0/33", "10.0.0"])
def test_only_addresses_and_networks_can_be_trusted(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        trusted_networks([text])


def test_parameters_are_added_and_taken_away() -> None:
    uri = "qemu+ssh://host/system?a=1&b=two%20words"
    assert ways.parameters(uri) == {"a": "1", "b": "two words"}
    assert ways.with_parameters(uri, {"a": None, "c": "3"}) == "qemu+ssh://host/system?b=two%20words&c=3"
    assert ways.parameters(ways.with_parameters(uri, {"a": "2", "c": "3"}, replace=False))["a"] == "1"
    assert ways.with_parameters("qemu:///system", {}) == "qemu:///system"
