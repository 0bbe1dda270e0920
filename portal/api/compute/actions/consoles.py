"""A server's console log and its consoles: as actions up to 2.5, as a path of their own since."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.consoles import console_log
from compute.errors import Invalid
from compute.models import Instance
from consoleproxy.tokens import Kind, issue
from portal.api.body import StrictIntegerField
from portal.api.compute.actions.handler import Answer, Handler, in_versions, object_of
from portal.api.compute.base import ComputeView, call
from portal.identity.policy import enforce

# Consoles: what clients may ask for, and what opens it here (None: not served).
CONSOLES: dict[tuple[str, str], Kind | None] = {
    ("vnc", "novnc"): "novnc",
    ("vnc", "xvpvnc"): None,
    ("serial", "serial"): "serial",
    ("spice", "spice-html5"): None,
    ("rdp", "rdp-html5"): None,
    ("mks", "webmks"): None,
    ("spice", "spice-direct"): None,
}
CONSOLE_SINCE = {"mks": "2.8", "spice-direct": "2.99"}


def console_output(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Read the console log."""
    enforce(view.actor, "os_compute_api:os-console-output", instance.project_id)
    length = object_of(argument or {}, "os-getConsoleOutput").get("length")
    lines = None if length in (None, -1, "-1") else StrictIntegerField(min_value=-1).run_validation(length)
    return Response({"output": console_log(instance, lines)})


def console(protocol: str) -> Handler:
    """The action that opens a console of this protocol."""
    key = f"os-get{protocol.upper() if protocol != 'serial' else 'Serial'}Console"

    def handle(view: ComputeView, instance: Instance, argument: Any) -> Answer:
        """Open a console (up to 2.5)."""
        kind = str(object_of(argument, key).get("type"))
        return Response({"console": {"type": kind, "url": open_console(view, instance, protocol, kind)}})

    return in_versions(handle, until="2.5")


class RemoteConsoles(ComputeView):
    """/servers/{id}/remote-consoles"""

    @call("os_compute_api:os-remote-consoles", since="2.6")
    def post(self, request: Request, server_id: str) -> Response:
        """Open a server's console: noVNC or serial."""
        instance = self.instance(server_id)
        wanted = object_of(self.body.get("remote_console"), "remote_console")
        protocol, kind = wanted.get("protocol"), wanted.get("type")
        since = CONSOLE_SINCE.get(str(protocol), CONSOLE_SINCE.get(str(kind), "2.6"))
        if set(wanted) != {"protocol", "type"} or (str(protocol), str(kind)) not in CONSOLES or not self.at(since):
            raise ValidationError(f"Invalid input for field/attribute remote_console. Value: {protocol}, {kind}.")
        url = open_console(self, instance, str(protocol), str(kind))
        return Response({"remote_console": {"protocol": protocol, "type": kind, "url": url}})


def open_console(view: ComputeView, instance: Instance, protocol: str, kind: str) -> str:
    """The address of a console, with a fresh token in it. Raises Invalid for what is not served, and as ``issue``."""
    served = CONSOLES.get((protocol, kind))
    if served is None:
        raise Invalid(f"Unavailable console type {kind}.")
    return issue(instance, view.actor, served)
