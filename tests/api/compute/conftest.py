"""What the wire tests of the compute API share."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Instance
from compute.operations.create import BootRequest, create
from tests.conftest import Cloud, Persona

NEWEST = "2.100"


def at(version: str) -> dict[str, str]:
    """The header that asks for a microversion."""
    return {"OpenStack-API-Version": f"compute {version}"}


def body_of(cloud: Cloud, **more: Any) -> dict[str, Any]:
    """A body for POST /servers that every version takes."""
    server = {"name": "web", "imageRef": str(cloud.image.id), "flavorRef": cloud.nano.id}
    return {"server": server | {"networks": [{"uuid": str(cloud.network.id)}]} | more}


def message(response: Any) -> str:
    """The sentence of an error."""
    return str(next(iter(response.json().values()))["message"])


@pytest.fixture
def web(cloud: Cloud, alice: Persona) -> Instance:
    """A server of alice's, still building."""
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id), metadata={"tier": "front"})
    return create(alice.actor, wanted)[0]


@pytest.fixture
def active(web: Instance, drain: Any) -> Instance:
    """A server of alice's that runs."""
    drain()
    web.refresh_from_db()
    assert web.vm_state == "active", web.vm_state
    return web
