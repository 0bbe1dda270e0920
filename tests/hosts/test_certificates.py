"""The cloud's own certificate authority."""

from __future__ import annotations

import ipaddress
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from compute.errors import Conflict, Invalid
from compute.hosts import certificates, connections
from compute.hypervisor.interface import Unreachable
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden
from tests.conftest import Persona


@pytest.fixture(autouse=True)
def place(settings: Any, tmp_path: Path) -> Path:
    """A data folder of the test's own."""
    settings.DATA_DIR = tmp_path
    return tmp_path / "pki"


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_it_is_made_when_it_is_first_needed_and_for_nobody_elses_eyes(place: Path) -> None:
    assert not place.exists()
    assert certificates.client_folder() == str(place)
    assert sorted(path.name for path in place.iterdir()) == [
        "cacert.pem",
        "cakey.pem",
        "clientcert.pem",
        "clientkey.pem",
    ]
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}
    authority, client = read(place / "cacert.pem"), read(place / "clientcert.pem")
    client.verify_directly_issued_by(authority)
    assert isinstance(client.public_key(), ec.EllipticCurvePublicKey)
    assert client.subject.rfc4514_string() == certificates.client_name()
    before = (place / "clientcert.pem").read_bytes()
    assert certificates.client_folder() and (place / "clientcert.pem").read_bytes() == before


def test_of_many_who_make_it_one_wins(place: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: certificates.client_name(), range(8)))
    assert len(names) == 1
    assert [path.name for path in place.parent.iterdir()] == ["pki"]


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("10.0.0.5", x509.IPAddress(ipaddress.ip_address("10.0.0.5"))),
        ("fd00::5", x509.IPAddress(ipaddress.ip_address("fd00::5"))),
        (" Node-1.example.org ", x509.DNSName("node-1.example.org")),
        ("n" * 60 + ".rack-1.example.org", x509.DNSName("n" * 60 + ".rack-1.example.org")),
    ],
)
def test_a_host_gets_one_that_is_good_for_it_alone(place: Path, address: str, named: x509.GeneralName) -> None:
    made = certificates.issue(SYSTEM, address)
    certificate = x509.load_pem_x509_certificate(made.certificate.encode())
    certificate.verify_directly_issued_by(read(place / "cacert.pem"))
    values = {extension.oid: extension.value for extension in certificate.extensions}
    assert list(values[x509.SubjectAlternativeName.oid]) == [named]
    assert list(values[x509.ExtendedKeyUsage.oid]) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not values[x509.BasicConstraints.oid].ca
    assert made.good_until - datetime.now(UTC) > timedelta(days=800)
    assert made.client == certificates.client_name() == f"CN={made.client.removeprefix('CN=')}"
    assert certificates.issue(SYSTEM, address).key != made.key
    peer = x509.load_pem_x509_certificate(made.peer_certificate.encode())
    uses = peer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert list(peer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [named]
    assert peer.public_key() != certificate.public_key()


@pytest.mark.parametrize(
    "address", ["", "a b", "$(id)", "host'", "a/b", "-x", "x" * 300, "x" * 64, "a..b", "fe80::1%';id;'"]
)
def test_what_is_no_address_gets_none(address: str) -> None:
    with pytest.raises(Invalid, match="neither a host name nor an address"):
        certificates.issue(SYSTEM, address)


def test_the_clouds_own_is_made_anew_before_it_ends_and_keeps_its_name(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LIFE", timedelta(days=59))
    certificates.client_folder()
    first, key = read(place / "clientcert.pem"), (place / "clientkey.pem").read_bytes()
    monkeypatch.undo()
    certificates.client_folder()
    second = read(place / "clientcert.pem")
    assert second.not_valid_after_utc - first.not_valid_after_utc > timedelta(days=700)
    assert (second.subject, second.public_key()) == (first.subject, first.public_key())
    assert (place / "clientkey.pem").read_bytes() == key


def test_a_control_node_without_the_authoritys_key_reaches_hosts_and_signs_nothing(place: Path) -> None:
    certificates.client_folder()
    (place / "cakey.pem").unlink()
    assert certificates.client_folder() == str(place)
    with pytest.raises(Conflict, match=r"cakey\.pem is not on this control node"):
        certificates.issue(SYSTEM, "10.0.0.5")


def test_without_that_key_the_clouds_own_is_used_to_its_end(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates.client_folder()
    (place / "cakey.pem").unlink()
    monkeypatch.setattr(certificates, "RENEW_BEFORE", timedelta(days=800))
    assert certificates.client_folder() == str(place)
    (place / "clientcert.pem").unlink()
    with pytest.raises(Conflict, match=r"cakey\.pem is not on this control node"):
        certificates.client_folder()


@pytest.mark.parametrize("damaged", ["cacert.pem", "cakey.pem", "clientcert.pem"])
def test_a_damaged_folder_is_said_to_whoever_needs_it(place: Path, damaged: str) -> None:
    certificates.client_folder()
    (place / damaged).write_text("")
    with pytest.raises(Conflict, match=f"{damaged} cannot be read"):
        certificates.client_folder()
        certificates.issue(SYSTEM, "10.0.0.5")
    if damaged == "clientcert.pem":
        pki = connections.ways().pki
        assert pki is not None
        with pytest.raises(Unreachable, match=f"{damaged} cannot be read"):
            pki()


def test_an_authority_that_ends_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates.client_folder()
    monkeypatch.setattr(certificates, "RENEW_BEFORE", certificates.CA_LIFE)
    with pytest.raises(Conflict, match=r"ends\. Move the folder away"):
        certificates.issue(SYSTEM, "10.0.0.5")
    shutil.rmtree(place)


@pytest.mark.django_db
def test_only_administrators_may(alice: Persona, place: Path) -> None:
    with pytest.raises(Forbidden):
        certificates.issue(alice.actor, "10.0.0.5")
    assert not place.exists()
