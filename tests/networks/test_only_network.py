"""Which network a server is on that names none."""

from __future__ import annotations

import pytest

from compute.errors import Invalid
from compute.models import Network, Subnet
from compute.networks.plugging import only_network
from portal.identity.models import Project
from tests.conftest import Cloud

pytestmark = pytest.mark.django_db


def network(project: Project, number: int, *, shared: bool = False, subnet: bool = True) -> Network:
    made = Network.objects.create(name=f"net-{number}", project=project, shared=shared)
    if subnet:
        Subnet.objects.create(
            network=made, project=project, cidr=f"10.98.{number}.0/24", gateway_ip=f"10.98.{number}.1"
        )
    return made


def test_it_is_the_projects_own_however_many_are_shared(cloud: Cloud) -> None:
    for number in (1, 2, 3):
        network(cloud.admin_project, number, shared=True)
    own = network(cloud.demo, 4)
    for number in (5, 6):
        network(cloud.admin_project, number, shared=True)
    network(cloud.demo, 7, subnet=False)
    assert only_network(cloud.demo.id) == own
    network(cloud.demo, 8)
    with pytest.raises(Invalid, match="Multiple possible networks found"):
        only_network(cloud.demo.id)


def test_several_that_are_shared_are_too_many(cloud: Cloud) -> None:
    assert only_network(cloud.other.id) == cloud.network
    network(cloud.admin_project, 1, shared=True)
    with pytest.raises(Invalid, match="Multiple possible networks found"):
        only_network(cloud.other.id)
