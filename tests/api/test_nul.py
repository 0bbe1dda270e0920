"""NUL in a body is refused at the door of every API: SQLite would take it, PostgreSQL would not."""

from __future__ import annotations

import pytest

from tests.conftest import Cloud, Persona


@pytest.mark.parametrize("escaped", [rb"x\u0000y", rb"\\\u0000"])
def test_a_body_with_nul_is_refused(root: Persona, cloud: Cloud, escaped: bytes) -> None:
    raw = b'{"addTenantAccess": {"tenant": "' + escaped + b'"}}'
    answer = root.post(f"/compute/v2.1/flavors/{cloud.nano.id}/action", raw)
    assert answer.status_code == 400
    assert "NUL" in answer.json()["badRequest"]["message"]


def test_the_words_backslash_u0000_are_no_nul(alice: Persona) -> None:
    answer = alice.post("/network/v2.0/security-groups", rb'{"security_group": {"name": "a \\u0000 b"}}')
    assert answer.status_code == 201
    assert answer.json()["security_group"]["name"] == "a \\u0000 b"


def test_a_long_run_of_backslashes_takes_no_time(alice: Persona) -> None:
    answer = alice.post("/network/v2.0/security-groups", b'{"security_group": {"name": "' + b"\\" * 200_000 + b'"}}')
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/identity/v3/projects?parent_id=a%00b",
        "/identity/v3/auth/domains?marker=a%00b",
        "/image/v2/images?name=a%00b",
        "/network/v2.0/ports?name=a%00b",
        "/compute/v2.1/servers/a%00b",
    ],
)
def test_an_address_with_nul_is_refused(root: Persona, path: str) -> None:
    assert root.get(path).status_code == 400
