"""What the wire tests of the placement API share."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from compute.models import Aggregate, Host, HostState, Instance
from compute.operations.create import BootRequest, create
from portal.identity.actor import actor_on_system
from portal.identity.models import Assignment, Role, User
from portal.identity.tokens import Scope, issue
from tests.conftest import Cloud, Persona

NEWEST = "1.39"


def at(version: str = NEWEST) -> dict[str, str]:
    """The header that asks for a microversion."""
    return {"OpenStack-API-Version": f"placement {version}"}


def fetch(persona: Persona, path: str, version: str = NEWEST) -> Any:
    """GET below /placement."""
    return persona.get(f"/placement{path}", headers=at(version))


def detail(response: Any) -> str:
    """The sentence of an error."""
    return str(response.json()["errors"][0]["detail"])


@pytest.fixture
def small(cloud: Cloud) -> Host:
    """A second host, with less of everything and other features, in an aggregate."""
    host = Host.objects.create(
        name="host-2",
        uri=f"fake://host-{uuid4().hex[:8]}",
        state=HostState.UP,
        vcpus=2,
        memory_mb=2048,
        disk_gb=20,
        memory_ratio=1.0,
        facts={"architecture": "x86_64", "cpu_features": ["aes", "sse4.2", "vmx", "no-such"], "cpu_threads": 2},
    )
    Aggregate.objects.create(name="fast").hosts.add(host)
    return host


@pytest.fixture
def active(cloud: Cloud, alice: Persona, drain: Any) -> Instance:
    """A server of alice's that runs on the first host."""
    instance = create(alice.actor, BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id)))[0]
    drain()
    instance.refresh_from_db()
    return instance


@pytest.fixture
def auditor(cloud: Cloud) -> Persona:
    """May look at everything: reader of the system."""
    user = User.objects.create_user("auditor", "correct horse battery", domain=cloud.domain)
    Assignment.objects.create(user=user, role=Role.objects.get(name="reader"), system=True)
    assert actor_on_system(user) is not None
    token, _ = issue(user, Scope(system=True), ("password",))
    return Persona(user, token=token)
