"""How a lane's processes hold the database."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from portal.setup import forks


def test_a_lane_keeps_a_connection_for_each_thread_and_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SimpleNamespace(settings_dict={"OPTIONS": {"pool": {"max_size": 16}}, "CONN_MAX_AGE": 0})
    closed: list[str] = []

    def every(initialized_only: bool = False) -> list[Any]:
        return [] if initialized_only else [kept]

    monkeypatch.setattr(forks, "connections", SimpleNamespace(close_all=lambda: closed.append("all"), all=every))
    forks.keep_connections()
    assert closed == ["all"]
    assert kept.settings_dict == {"OPTIONS": {}, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
