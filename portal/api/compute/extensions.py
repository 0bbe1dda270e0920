"""Extensions: what older clients ask for before they use a part of the API. All of them are part of 2.1 now."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from portal.api.compute.base import ComputeView, call

# Alias and name of what Nacelle serves, in Nova's words.
EXTENSIONS: dict[str, str] = {
    "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive",
    "os-console-output": "ConsoleOutput",
    "os-consoles": "Consoles",
    "os-disk-config": "DiskConfig",
    "os-extended-availability-zone": "ExtendedAvailabilityZone",
    "os-extended-server-attributes": "ExtendedServerAttributes",
    "os-extended-status": "ExtendedStatus",
    "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage",
    "os-hosts": "Hosts",
    "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs",
    "os-multiple-create": "MultipleCreate",
    "os-quota-sets": "Quotas",
    "os-remote-consoles": "Consoles",
    "os-scheduler-hints": "SchedulerHints",
    "os-server-start-stop": "ServerStartStop",
    "os-server-usage": "ServerUsage",
    "os-services": "Services",
    "os-simple-tenant-usage": "SimpleTenantUsage",
    "os-user-data": "UserData",
}


def _body(alias: str) -> dict[str, object]:
    return {
        "alias": alias,
        "name": EXTENSIONS[alias],
        "description": "Part of the compute API since 2.1.",
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
        "updated": "2014-12-03T00:00:00Z",
        "links": [],
    }


class Extensions(ComputeView):
    """/extensions"""

    @call("os_compute_api:extensions")
    def get(self, request: Request) -> Response:
        """List the extensions of the compute API."""
        return Response({"extensions": [_body(alias) for alias in EXTENSIONS]})


class Extension(ComputeView):
    """/extensions/{alias}"""

    @call("os_compute_api:extensions")
    def get(self, request: Request, alias: str) -> Response:
        """Show an extension of the compute API."""
        if alias not in EXTENSIONS:
            raise NotFound("The extension could not be found.")
        return Response({"extension": _body(alias)})
