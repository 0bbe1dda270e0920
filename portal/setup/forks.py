"""Databases and forks: a socket that two processes share mixes up their answers."""

from __future__ import annotations

from django.db import connections


def close_connections() -> None:
    """Close every connection, pools included; call it before a fork."""
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL's has it


def keep_connections() -> None:
    """For a process that forks again and again, and whose children have a thread or two: no pools.

    Each thread keeps its connection instead, and looks before a task whether it is still good: opening
    one costs PostgreSQL a process, and would take longer than most of a task's queries together.
    """
    close_connections()
    for connection in connections.all():
        connection.settings_dict["OPTIONS"].pop("pool", None)
        connection.settings_dict |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
