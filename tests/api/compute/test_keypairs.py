"""Key pairs over the wire."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from compute.models import Change, KeyPair, QuotaLimit
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

ROOT = "/compute/v2.1/os-keypairs"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFC2JRC8Q9zkNchHxFY91AB2+IDxo4Hwq02hOcWnwzg alice@laptop"


def body(**more: Any) -> dict[str, Any]:
    return {"keypair": {"name": "laptop", "public_key": PUBLIC, **more}}


@pytest.mark.parametrize(
    ("version", "status", "gone", "more"),
    [("2.1", 200, 202, set()), ("2.2", 201, 204, {"type"}), (NEWEST, 201, 204, {"type"})],
)
def test_import_show_list_delete(
    cloud: Cloud, alice: Persona, version: str, status: int, gone: int, more: set[str]
) -> None:
    response = alice.post(ROOT, body(), headers=at(version))
    assert response.status_code == status, response.content
    made = response.json()["keypair"]
    assert set(made) == {"name", "public_key", "fingerprint", "user_id"} | more
    digest = hashlib.md5(base64.b64decode(PUBLIC.split()[1])).hexdigest()
    assert made["fingerprint"] == ":".join(digest[n : n + 2] for n in range(0, 32, 2))
    assert Change.objects.filter(kind="keypair", project_id=cloud.demo.id).exists()
    listed = alice.get(ROOT, headers=at(version)).json()["keypairs"]
    assert [set(one["keypair"]) for one in listed] == [{"name", "public_key", "fingerprint"} | more]
    shown = alice.get(f"{ROOT}/laptop", headers=at(version)).json()["keypair"]
    assert set(shown) == set(made) | {"id", "created_at", "updated_at", "deleted_at", "deleted"}
    assert alice.delete(f"{ROOT}/laptop", headers=at(version)).status_code == gone
    assert alice.get(f"{ROOT}/laptop", headers=at(version)).status_code == 404


def test_a_pair_is_made_up_to_2_91(cloud: Cloud, alice: Persona) -> None:
    made = alice.post(ROOT, {"keypair": {"name": "new"}}, headers=at("2.91")).json()["keypair"]
    private = serialization.load_ssh_private_key(made["private_key"].encode(), None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert made["public_key"].startswith(public.decode())
    assert "PRIVATE" not in str(KeyPair.objects.values().get())
    assert alice.post(ROOT, {"keypair": {"name": "newer"}}, headers=at("2.92")).status_code == 400


def test_a_certificate(cloud: Cloud, alice: Persona) -> None:
    made = alice.post(ROOT, {"keypair": {"name": "win", "type": "x509"}}, headers=at("2.2")).json()["keypair"]
    certificate = x509.load_pem_x509_certificate(made["public_key"].encode())
    key = serialization.load_pem_private_key(made["private_key"].encode(), None)
    assert made["type"] == "x509" and key.public_key() == certificate.public_key()
    again = alice.post(ROOT, body(name="win2", type="x509", public_key=made["public_key"]), headers=at("2.2")).json()[
        "keypair"
    ]
    assert again["fingerprint"] == made["fingerprint"] and made["fingerprint"].count(":") == 19


@pytest.mark.parametrize(
    ("more", "version"),
    [
        ({"name": ""}, "2.1"),
        ({"name": "a" * 256}, "2.1"),
        ({"name": "key_/.\\@:"}, "2.1"),
        ({"name": "a@b"}, "2.91"),
        ({"name": " a"}, "2.1"),
        ({"name": "a\nb"}, "2.1"),
        ({"name": "a/b"}, NEWEST),
        ({"name": 7}, "2.1"),
        ({"public_key": " "}, "2.1"),
        ({"public_key": ""}, "2.1"),
        ({"public_key": "ssh-rsa JUNK nova@ubuntu"}, "2.1"),
        ({"public_key": "ssh-rsa " + "A" * 2048 + " openstack@ubuntu"}, "2.1"),
        ({"public_key": None}, "2.1"),
        ({"type": "ssh"}, "2.1"),
        ({"type": "pgp"}, "2.2"),
        ({"type": "x509"}, "2.2"),
        ({"user_id": "x"}, "2.9"),
        ({"more": 1}, "2.1"),
    ],
)
def test_bad_key_pairs(cloud: Cloud, alice: Persona, more: dict[str, Any], version: str) -> None:
    response = alice.post(ROOT, body(**more), headers=at(version))
    assert response.status_code == 400 and message(response), response.content
    assert not KeyPair.objects.exists()


def test_names_of_2_92(cloud: Cloud, alice: Persona) -> None:
    assert alice.post(ROOT, body(name="a@b.example"), headers=at("2.92")).status_code == 201


def test_names_are_used_once_by_each_user(cloud: Cloud, alice: Persona, charlie: Persona) -> None:
    assert alice.post(ROOT, body()).status_code == 200 == charlie.post(ROOT, body()).status_code
    response = alice.post(ROOT, body())
    assert response.status_code == 409 and message(response) == "Key pair 'laptop' already exists."
    assert len(alice.get(ROOT).json()["keypairs"]) == 1


def test_quota(cloud: Cloud, alice: Persona) -> None:
    QuotaLimit.objects.create(project=cloud.demo, resource="key_pairs", limit=1)
    assert alice.post(ROOT, body()).status_code == 200
    response = alice.post(ROOT, body(name="second"))
    assert response.status_code == 403 and message(response) == "Quota exceeded, too many key pairs."
    assert KeyPair.objects.count() == 1


def test_key_pairs_are_their_users_alone(cloud: Cloud, alice: Persona, bob: Persona, root: Persona) -> None:
    alice.post(ROOT, body())
    assert bob.get(ROOT).json() == {"keypairs": []}
    assert bob.get(f"{ROOT}/laptop").status_code == 404 == bob.delete(f"{ROOT}/laptop").status_code
    mine = f"user_id={alice.user.id}"
    for method in ("GET", "DELETE"):
        assert bob.request(method, f"{ROOT}/laptop?{mine}", headers=at("2.10")).status_code == 403
    assert bob.get(f"{ROOT}?{mine}", headers=at("2.10")).status_code == 403
    assert bob.post(ROOT, body(name="x", user_id=alice.user.id), headers=at("2.10")).status_code == 403
    assert len(root.get(f"{ROOT}?{mine}", headers=at("2.10")).json()["keypairs"]) == 1
    assert root.get(f"{ROOT}?{mine}", headers=at("2.9")).json() == {"keypairs": []}
    made = root.post(ROOT, body(name="x", user_id=alice.user.id), headers=at("2.10"))
    assert made.status_code == 201 and made.json()["keypair"]["user_id"] == alice.user.id
    assert root.delete(f"{ROOT}/x?{mine}", headers=at("2.10")).status_code == 204
    assert root.post(ROOT, body(user_id="none-such"), headers=at("2.10")).status_code == 400


def test_pages(cloud: Cloud, alice: Persona) -> None:
    for name in "abc":
        alice.post(ROOT, body(name=name))
    page = alice.get(f"{ROOT}?limit=2", headers=at("2.35")).json()
    assert [one["keypair"]["name"] for one in page["keypairs"]] == ["a", "b"] and "marker=b" in page["keypairs_links"][
        0
    ]["href"]
    page = alice.get(f"{ROOT}?limit=2&marker=b", headers=at("2.35")).json()
    assert [one["keypair"]["name"] for one in page["keypairs"]] == ["c"] and "keypairs_links" not in page
    assert alice.get(f"{ROOT}?marker=none", headers=at("2.35")).status_code == 400
    assert len(alice.get(f"{ROOT}?limit=2", headers=at("2.34")).json()["keypairs"]) == 3
