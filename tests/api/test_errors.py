"""What the database says is told in our own words."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, OperationalError

from portal.api.errors import exception_handler


@pytest.mark.parametrize(("error", "status"), [(IntegrityError, 409), (OperationalError, 503)])
def test_nothing_of_the_database_goes_out(
    error: type[Exception], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = exception_handler(error("Key (subnet_id)=(7) is not present in table"), {})
    assert answer.status_code == status
    assert "nothing was changed" in answer.data["error"]["message"]
    assert "subnet_id" not in str(answer.data)
    assert "subnet_id" in caplog.text
