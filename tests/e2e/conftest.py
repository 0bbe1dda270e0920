"""One Nacelle for all of these tests; each leaves it as it found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import Cloud
from tests.e2e.lab import heal, laboratory, nacelle_with
from tests.e2e.nacelle import Nacelle
from tests.e2e.openstack_command import OpenStack

# A worker that was killed is missed after this time; the default would only make the tests slower.
LEASE_SECONDS = "4"
# Where faults are made on purpose, all that waits for one waits briefly.
FAULT_SETTINGS = {
    "NACELLE_LEASE_SECONDS": LEASE_SECONDS,
    "NACELLE_HOST_DOWN_AFTER": "5",
    "NACELLE_HOST_SAMPLE_SECONDS": "1",
    "NACELLE_STATE_SYNC_SECONDS": "2",
    "NACELLE_SHUTDOWN_GRACE": "3",  # nobody waits until a guest has booted so far that it hears the button
}


@pytest.fixture(scope="session")
def nacelle() -> Iterator[Nacelle]:
    """A Nacelle that runs, on this machine's libvirt."""
    own = Nacelle(NACELLE_LEASE_SECONDS=LEASE_SECONDS, NACELLE_HOST_SAMPLE_SECONDS="2")
    try:
        own.build_image()
        own.start()
        yield own
    finally:
        own.remove()


@pytest.fixture
def cloud(nacelle: Nacelle) -> Iterator[Cloud]:
    """The cloud that it is, with the first instance running."""
    cloud = Cloud(nacelle)
    hello = cloud.named("hello")
    assert hello is not None
    cloud.wait_for_status(hello["id"], "ACTIVE")
    yield cloud
    cloud.close()


@pytest.fixture
def openstack(nacelle: Nacelle, cloud: Cloud, tmp_path: Path) -> OpenStack:
    """The `openstack` command as the administrator."""
    return OpenStack(nacelle, tmp_path)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Laboratory]:
    """Real hosts that may be killed, cut off and switched off; ``pytest.mark.lab`` of the module says how many."""
    marker = request.node.get_closest_marker("lab")
    with laboratory(**(marker.kwargs if marker else {})) as made:
        yield made


@pytest.fixture(scope="module")
def far(lab: Laboratory) -> LabHost:
    """The first host of them."""
    return lab.host(1)


@pytest.fixture(scope="module")
def lab_nacelle(lab: Laboratory) -> Iterator[Nacelle]:
    """A Nacelle that runs with the hosts of the laboratory and no other."""
    with nacelle_with(lab) as own:
        yield own


@pytest.fixture
def lab_cloud(lab: Laboratory, lab_nacelle: Nacelle) -> Iterator[Cloud]:
    """The cloud that it is. Afterwards every host runs and is reached, whatever befell it."""
    cloud = Cloud(lab_nacelle)
    try:
        yield cloud
    finally:
        cloud.close()
        heal(lab)
