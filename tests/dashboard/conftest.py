"""People at a browser, and instances to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from compute.models import Instance
from compute.operations.create import BootRequest, create
from tests.conftest import Cloud, Persona

FRAGMENT = {"X-Fragment": "1"}


@pytest.fixture
def browse() -> Callable[[Persona], Client]:
    """A client that is logged in as somebody."""

    def as_persona(persona: Persona) -> Client:
        client = Client()
        assert persona.user is not None
        client.force_login(persona.user)
        return client

    return as_persona


@pytest.fixture
def launch(cloud: Cloud) -> Callable[..., Instance]:
    """Launch an instance for somebody; its boot waits for ``drain``."""

    def launched(persona: Persona, name: str = "web", **wanted: Any) -> Instance:
        fields = {"flavor_id": cloud.nano.id, "image_id": str(cloud.image.id), **wanted}
        return create(persona.actor, BootRequest(name=name, **fields))[0]

    return launched


@pytest.fixture
def web(launch: Callable[..., Instance], alice: Persona, drain: Callable[[], int]) -> Instance:
    """An instance of alice's that runs."""
    launch(alice, "web")
    drain()
    return Instance.objects.get()
