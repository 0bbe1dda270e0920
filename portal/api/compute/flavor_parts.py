"""What hangs on a flavor: its extra specs, and who may use a private one."""

from __future__ import annotations

import re
from typing import Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import Conflict, NotFound
from compute.extra_specs import check_known
from compute.flavors import add_access, delete_extra_spec, remove_access, set_extra_specs
from compute.models import Flavor
from portal.api.compute.base import ComputeView, call
from portal.api.compute.flavors import find_flavor

SPEC_KEY = re.compile(r"[a-zA-Z0-9\-_:. ]{1,255}")


def specs_of(value: Any) -> dict[str, str]:
    """Extra specs of a body: names to texts. Raises ValidationError."""
    if not isinstance(value, dict) or not value:
        raise ValidationError(
            "Invalid input for field/attribute extra_specs. It must be an object with at least one key."
        )
    for key, text in value.items():
        number = isinstance(text, int | float) and not isinstance(text, bool)
        if not SPEC_KEY.fullmatch(key) or not (number or isinstance(text, str)) or not 0 < len(str(text)) <= 255:
            raise ValidationError(f"Invalid input for field/attribute {key[:60]}. Value: {str(text)[:60]}.")
    return {key: str(text) for key, text in value.items()}


class ExtraSpecs(ComputeView):
    """/flavors/{id}/os-extra_specs"""

    @call("os_compute_api:os-flavor-extra-specs:index")
    def get(self, request: Request, flavor_id: str) -> Response:
        """List a flavor's extra specs."""
        return Response({"extra_specs": find_flavor(self, flavor_id).extra_specs})

    @call("os_compute_api:os-flavor-extra-specs:create")
    def post(self, request: Request, flavor_id: str) -> Response:
        """Add extra specs to a flavor, or change them."""
        flavor = find_flavor(self, flavor_id)
        if set(self.body) != {"extra_specs"}:
            raise ParseError("The body must hold 'extra_specs' and nothing else.")
        specs = specs_of(self.body["extra_specs"])
        if self.at("2.86"):
            check_known(specs)
        set_extra_specs(self.actor, flavor, specs=specs)
        return Response({"extra_specs": specs})


class ExtraSpec(ComputeView):
    """/flavors/{id}/os-extra_specs/{key}"""

    @call("os_compute_api:os-flavor-extra-specs:show")
    def get(self, request: Request, flavor_id: str, key: str) -> Response:
        """Show an extra spec of a flavor."""
        specs = find_flavor(self, flavor_id).extra_specs
        if key not in specs:
            raise NotFound(f"Flavor {flavor_id} has no extra specs with key {key}.")
        return Response({key: specs[key]})

    @call("os_compute_api:os-flavor-extra-specs:update")
    def put(self, request: Request, flavor_id: str, key: str) -> Response:
        """Change an extra spec of a flavor."""
        flavor = find_flavor(self, flavor_id)
        if set(self.body) != {key}:
            raise ParseError("Request body and URI mismatch")
        specs = specs_of(self.body)
        if self.at("2.86"):
            check_known(specs)
        set_extra_specs(self.actor, flavor, specs=specs)
        return Response(specs)

    @call("os_compute_api:os-flavor-extra-specs:delete")
    def delete(self, request: Request, flavor_id: str, key: str) -> Response:
        """Take an extra spec off a flavor."""
        delete_extra_spec(self.actor, find_flavor(self, flavor_id), key=key)
        return Response(None)


class FlavorAccessList(ComputeView):
    """/flavors/{id}/os-flavor-access"""

    @call("os_compute_api:os-flavor-access")
    def get(self, request: Request, flavor_id: str) -> Response:
        """List the projects that may use a private flavor."""
        flavor = find_flavor(self, flavor_id)
        if flavor.is_public:
            raise NotFound("Access list not available for public flavors.")
        return Response(access_of(flavor))


class FlavorAction(ComputeView):
    """/flavors/{id}/action"""

    @call("os_compute_api:os-flavor-access:add_tenant_access")
    def post(self, request: Request, flavor_id: str) -> Response:
        """Let a project use a private flavor, or take it away (addTenantAccess, removeTenantAccess)."""
        name, argument = next(iter(self.body.items()), ("", None))
        if len(self.body) != 1 or name not in ("addTenantAccess", "removeTenantAccess"):
            raise ParseError(f"There is no such action: {name[:60]}")
        project_id = argument.get("tenant") if isinstance(argument, dict) and set(argument) == {"tenant"} else None
        if not isinstance(project_id, str) or not 0 < len(project_id) <= 255:
            raise ValidationError("Invalid input for field/attribute tenant. It must be the id of a project.")
        flavor = find_flavor(self, flavor_id)
        if name == "removeTenantAccess":
            remove_access(self.actor, flavor, project_id=project_id)
        else:
            if flavor.is_public and self.at("2.7"):
                raise Conflict("Can not add access to a public flavor.")
            add_access(self.actor, flavor, project_id=project_id)
        return Response(access_of(flavor))


def access_of(flavor: Flavor) -> dict[str, Any]:
    """The access list of a flavor."""
    projects = flavor.access.order_by("project_id").values_list("project_id", flat=True)
    return {"flavor_access": [{"flavor_id": flavor.id, "tenant_id": project_id} for project_id in projects]}
