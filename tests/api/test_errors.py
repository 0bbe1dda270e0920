"""What the database says is told in our own words."""

from __future__ import annotations

import json

import pytest
from django.db import IntegrityError, OperationalError

from portal.api.errors import exception_handler
from tests.conftest import Persona


@pytest.mark.parametrize(("error", "status"), [(IntegrityError, 409), (OperationalError, 503)])
def test_nothing_of_the_database_goes_out(
    error: type[Exception], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = exception_handler(error("Key (subnet_id)=(7) is not present in table"), {})
    assert answer.status_code == status
    assert "nothing was changed" in answer.data["error"]["message"]
    assert "subnet_id" not in str(answer.data)
    assert "subnet_id" in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize("depth", [70, 900])
def test_a_body_is_nested_only_so_far(alice: Persona, depth: int) -> None:
    """What is read so deep could not be written down again."""
    nested = json.loads("[" * depth + "]" * depth)
    group = {"name": "web", "policies": nested}
    for path, body in (("/compute/v2.1/os-server-groups", {"server_group": group}), ("/network/v2.0/ports", nested)):
        assert alice.post(path, body).status_code == 400
    wide = {"server_group": {"name": "web", "policies": ["affinity"], "more": [[]] * 200}}
    assert "deep" not in alice.post("/compute/v2.1/os-server-groups", wide).text
