"""The programs that the supervisor runs."""

from __future__ import annotations

from typing import Any

import pytest
import uvicorn

from portal.setup import programs


def test_a_client_that_asks_every_few_seconds_finds_its_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """`openstack … --wait` asks every five seconds; a server that hangs up after five cuts some of them off."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda application, **settings: told.update(settings))
    programs.PROGRAMS["web"]()
    assert told["timeout_keep_alive"] >= 60
