"""What every test may ask for: a small cloud, people in it, and its workers."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.test import Client

from compute.flavor_defaults import ensure_flavors
from compute.models import (
    OPEN_STATES,
    Action,
    Flavor,
    Host,
    HostState,
    Image,
    ImageStatus,
    ImageVisibility,
    Network,
    Subnet,
)
from portal.identity.actor import Actor, actor_on_project
from portal.identity.models import Assignment, Domain, Project, Role, User
from portal.identity.tokens import Scope, issue

PASSWORD = "correct horse battery"
TINY_BYTES = 1 << 20

# No example fails because the machine is busy with something else.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


@dataclass
class Persona:
    """Somebody with a token, and the verbs to use it with."""

    user: User = None  # type: ignore[assignment]  # nobody, for who has no token
    project: Project = None  # type: ignore[assignment]  # likewise
    token: str = ""
    client: Client = field(default_factory=Client)

    @property
    def actor(self) -> Actor:
        """Who they are to the code inside."""
        actor = actor_on_project(self.user, self.project)
        assert actor is not None
        return actor

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **extra: Any
    ) -> Any:
        """Send JSON with the token."""
        sent = {"X-Auth-Token": self.token} if self.token else {}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        content_type = extra.pop("content_type", "application/json")
        return self.client.generic(
            method, path, data, content_type=content_type, headers={**sent, **(headers or {})}, **extra
        )

    def get(self, path: str, **extra: Any) -> Any:
        """GET."""
        return self.request("GET", path, **extra)

    def post(self, path: str, body: Any = None, **extra: Any) -> Any:
        """POST."""
        return self.request("POST", path, body, **extra)

    def put(self, path: str, body: Any = None, **extra: Any) -> Any:
        """PUT."""
        return self.request("PUT", path, body, **extra)

    def patch(self, path: str, body: Any = None, **extra: Any) -> Any:
        """PATCH."""
        return self.request("PATCH", path, body, **extra)

    def delete(self, path: str, **extra: Any) -> Any:
        """DELETE."""
        return self.request("DELETE", path, **extra)


@dataclass
class Cloud:
    """The rows that the other fixtures stand on."""

    domain: Domain
    demo: Project
    other: Project
    admin_project: Project
    host: Host
    network: Network
    image: Image
    nano: Flavor


def _roles() -> dict[str, Role]:
    roles = {name: Role.objects.create(name=name) for name in ("admin", "manager", "member", "reader", "service")}
    for stronger, weaker in (("admin", "manager"), ("manager", "member"), ("member", "reader")):
        roles[stronger].implies.add(roles[weaker])
    return roles


def _network(project: Project) -> Network:
    network = Network.objects.create(name="private", project=project, shared=True)
    cidr = ipaddress.ip_network(settings.PRIVATE_NETWORK_CIDR)
    Subnet.objects.create(
        network=network,
        project=project,
        name="private-subnet",
        cidr=str(cidr),
        gateway_ip=str(cidr[1]),
        allocation_pools=[{"start": str(cidr[2]), "end": str(cidr[-2])}],
    )
    return network


def _image(project: Project) -> Image:
    content = b"\0" * TINY_BYTES
    image = Image.objects.create(
        name="tiny",
        project=project,
        status=ImageStatus.ACTIVE,
        visibility=ImageVisibility.PUBLIC,
        disk_format="raw",
        container_format="bare",
        size=TINY_BYTES,
        virtual_size=TINY_BYTES,
        checksum=hashlib.md5(content).hexdigest(),
        hash_algorithm="sha512",
        hash_value=hashlib.sha512(content).hexdigest(),
    )
    folder = Path(settings.IMAGE_STORE)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(image.id)).write_bytes(content)
    return image


@pytest.fixture
def cloud(db: None) -> Cloud:
    """A domain, projects, flavors, a network, an image, and one fake host that is up."""
    domain, _ = Domain.objects.get_or_create(id="default", defaults={"name": "Default"})
    roles = _roles()
    projects = {name: Project.objects.create(name=name, domain=domain) for name in ("admin", "demo", "other")}
    for name, role, project in (
        ("alice", "member", "demo"),
        ("bob", "reader", "demo"),
        ("charlie", "member", "other"),
        ("root", "admin", "admin"),
    ):
        user = User.objects.create_user(name, PASSWORD, domain=domain, default_project=projects[project])
        Assignment.objects.create(user=user, role=roles[role], project=projects[project])
        if role == "admin":
            Assignment.objects.create(user=user, role=roles[role], system=True)
    ensure_flavors()
    host = Host.objects.create(
        name="host-1",
        uri=f"fake://host-{uuid.uuid4().hex[:8]}",
        state=HostState.UP,
        vcpus=8,
        memory_mb=32_768,
        disk_gb=500,
        facts={"hypervisor_type": "QEMU", "hypervisor_version": 7_002_000, "cpu_model": "qemu64"},
    )
    return Cloud(
        domain=domain,
        demo=projects["demo"],
        other=projects["other"],
        admin_project=projects["admin"],
        host=host,
        network=_network(projects["admin"]),
        image=_image(projects["admin"]),
        nano=Flavor.objects.get(name="m1.nano"),
    )


def _persona(name: str) -> Persona:
    user = User.objects.select_related("domain", "default_project").get(name=name)
    token, _ = issue(user, Scope(project=user.default_project), ("password",))
    return Persona(user, user.default_project, token)


@pytest.fixture
def alice(cloud: Cloud) -> Persona:
    """Owns what she makes: member of demo."""
    return _persona("alice")


@pytest.fixture
def bob(cloud: Cloud) -> Persona:
    """May look, not touch: reader of demo."""
    return _persona("bob")


@pytest.fixture
def charlie(cloud: Cloud) -> Persona:
    """The stranger: member of another project."""
    return _persona("charlie")


@pytest.fixture
def root(cloud: Cloud) -> Persona:
    """The administrator."""
    return _persona("root")


@pytest.fixture
def anyone() -> Persona:
    """No token at all."""
    return Persona()


@pytest.fixture
def backstage(cloud: Cloud) -> Network:
    """A network of alice's project."""
    network = Network.objects.create(name="backstage", project=cloud.demo)
    Subnet.objects.create(
        network=network, project=cloud.demo, cidr="10.99.0.0/24", gateway_ip="10.99.0.1",
        allocation_pools=[{"start": "10.99.0.2", "end": "10.99.0.9"}],
    )  # fmt: skip
    return network


@pytest.fixture
def far(cloud: Cloud) -> Host:
    """A second host, in a zone of its own, with room for two nanos."""
    return Host.objects.create(
        name="host-2", uri=f"fake://host-{uuid.uuid4().hex[:8]}", state=HostState.UP, zone="far",
        vcpus=8, memory_mb=256, disk_gb=500, reserved_memory_mb=0, memory_ratio=1.0,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_queue(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The doorbell is silent unless a test runs real workers (marker ``real``, ``browser``, ``client``)."""
    if any(request.node.get_closest_marker(name) for name in ("real", "browser", "client")):
        return
    monkeypatch.setattr("compute.operations.doorbell.async_task", lambda *args, **kwargs: None)


@pytest.fixture
def drain(db: None) -> Iterator[Callable[[], int]]:
    """Run every open operation to its end in this process; returns how many were worked on."""
    from compute.operations.worker import perform

    def run() -> int:
        for worked in range(200):
            action = Action.objects.filter(state__in=OPEN_STATES, lease_owner="").order_by("id").first()
            if action is None:
                return worked
            perform(action.pk, action.progress.get("lane", "compute"))
        raise AssertionError("operations never end")

    yield run
