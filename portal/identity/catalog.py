"""The catalog: what this cloud serves, and where. Derived from the settings; nobody edits it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings

INTERFACES = ("public", "internal", "admin")
_NAMESPACE = uuid.UUID("6e6f9d0a-2f0e-5c1f-9a39-6a2d1f3f8c55")


@dataclass(frozen=True)
class Service:
    """One of OpenStack's services, by its standard type, and its path here."""

    type: str
    name: str
    path: str
    description: str

    @property
    def id(self) -> str:
        """The same at each start, since it is made of the type."""
        return uuid.uuid5(_NAMESPACE, self.type).hex

    @property
    def url(self) -> str:
        """Where clients find it."""
        return settings.PUBLIC_URL + self.path


@dataclass(frozen=True)
class Endpoint:
    """A service's address for one kind of client; all three are the same address here."""

    service: Service
    interface: str

    @property
    def id(self) -> str:
        """The same at each start."""
        return uuid.uuid5(_NAMESPACE, f"{self.service.type} {self.interface}").hex


SERVICES = (
    Service("identity", "keystone", "/identity/v3", "Who: projects, users, roles, tokens"),
    Service("compute", "nova", "/compute/v2.1", "Servers, flavors and key pairs"),
    Service("image", "glance", "/image", "Images"),
    Service("network", "neutron", "/network", "Networks, ports and security groups"),
    Service("placement", "placement", "/placement", "What hosts have, and what is claimed of it"),
)
ENDPOINTS = tuple(Endpoint(service, interface) for service in SERVICES for interface in INTERFACES)


def service_of_path(path: str) -> tuple[str, str]:
    """The type of the service that a request's path goes to, and the path within it.

    ``/compute/v2.1/servers`` is ``("compute", "/v2.1/servers")``. A path of no service has the type "".
    """
    first, _, rest = path.removeprefix("/").partition("/")
    known = any(service.type == first for service in SERVICES)
    return (first, "/" + rest) if known else ("", path)


def catalog() -> list[dict[str, Any]]:
    """The catalog as tokens show it."""
    return [
        {
            "id": service.id,
            "type": service.type,
            "name": service.name,
            "endpoints": [
                {
                    "id": endpoint.id,
                    "interface": endpoint.interface,
                    "region": settings.REGION,
                    "region_id": settings.REGION,
                    "url": service.url,
                }
                for endpoint in ENDPOINTS
                if endpoint.service is service
            ],
        }
        for service in SERVICES
    ]
