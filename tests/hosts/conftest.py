"""What tests of hosts may ask for besides the cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compute.models import Instance
from compute.operations.create import BootRequest, create
from tests.conftest import Cloud, Persona
from tests.hypervisor.conftest import libvirtd  # noqa: F401  (a fixture)


@pytest.fixture
def launch(cloud: Cloud) -> Callable[..., Instance]:
    """Launch an instance for somebody; its boot waits for ``drain``."""

    def launched(persona: Persona, name: str = "web", **wanted: Any) -> Instance:
        fields = {"flavor_id": cloud.nano.id, "image_id": str(cloud.image.id), **wanted}
        return create(persona.actor, BootRequest(name=name, **fields))[0]

    return launched
