"""POST /servers/{id}/action: the operations by their keys on the wire, and the consoles."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.consoles import console_log
from compute.errors import Invalid
from compute.models import Instance
from compute.operations import OPERATIONS
from compute.operations.engine import Operation
from compute.operations.engine import request as request_operation
from compute.operations.power import HardReboot, SoftReboot
from consoleproxy.tokens import Kind, issue
from portal.api.body import StrictIntegerField
from portal.api.compute.base import ComputeView, call
from portal.api.versions import between
from portal.api.wire import HeadersOnly
from portal.identity.policy import enforce

# Nova's actions that Nacelle does not serve yet, so that the answer can say so.
NOT_SERVED = frozenset(
    [
        "addFixedIp",
        "addFloatingIp",
        "addSecurityGroup",
        "changePassword",
        "confirmResize",
        "createBackup",
        "createImage",
        "evacuate",
        "forceDelete",
        "injectNetworkInfo",
        "lock",
        "migrate",
        "os-migrateLive",
        "os-resetState",
        "pause",
        "rebuild",
        "removeFixedIp",
        "removeFloatingIp",
        "removeSecurityGroup",
        "rescue",
        "resize",
        "restore",
        "resume",
        "revertResize",
        "shelve",
        "shelveOffload",
        "suspend",
        "trigger_crash_dump",
        "unlock",
        "unpause",
        "unrescue",
        "unshelve",
    ]
)
REBOOTS = {"SOFT": SoftReboot, "HARD": HardReboot}
# Operations whose key means one of several are chosen by the body; the others by the key alone.
BY_WIRE: dict[str, type[Operation]] = {
    operation.wire: operation for operation in OPERATIONS.values() if operation.wire and operation.wire != "reboot"
}
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
CONSOLE_ACTIONS = {
    "os-getVNCConsole": "vnc",
    "os-getSPICEConsole": "spice",
    "os-getRDPConsole": "rdp",
    "os-getSerialConsole": "serial",
}


class NotServed(APIException):
    """Nova has it, Nacelle does not (HTTP 501)."""

    status_code = 501


def actions_document() -> str:
    """The keys of ``POST /servers/{id}/action``: those served, and those of Nova's that are not yet."""
    served = {key: operation.__doc__ for key, operation in BY_WIRE.items()}
    served["reboot"] = "Restart the instance: type SOFT or HARD."
    served["os-getConsoleOutput"] = "Read the console log."
    served |= dict.fromkeys(("os-getVNCConsole", "os-getSerialConsole"), "Open a console (up to 2.5).")
    lines = ["| action | what it does |", "|---|---|"]
    lines += [f"| `{key}` | {(text or '').splitlines()[0]} |" for key, text in sorted(served.items())]
    lines += ["", "Not served yet, and answered with 501: " + ", ".join(f"`{key}`" for key in sorted(NOT_SERVED)) + "."]
    return "\n".join(lines)


class ServerAction(ComputeView):
    """/servers/{id}/action"""

    @call("os_compute_api:servers:show")
    def post(self, request: Request, server_id: str) -> Response | HeadersOnly:
        """Start, stop or reboot a server, read its log, open its console."""
        instance = self.instance(server_id)
        if len(self.body) != 1:
            raise ParseError("There is no action in the request body, or more than one.")
        name, argument = next(iter(self.body.items()))
        if name == "os-getConsoleOutput":
            return Response({"output": self._console_output(instance, argument)})
        if name in CONSOLE_ACTIONS and between(self.version, "2.1", "2.5"):
            kind = str(_of(argument, name).get("type"))
            return Response(
                {"console": {"type": kind, "url": open_console(self, instance, CONSOLE_ACTIONS[name], kind)}}
            )
        request_operation(_operation(name, argument), instance, self.actor)
        return HeadersOnly(202)

    def _console_output(self, instance: Instance, argument: Any) -> str:
        enforce(self.actor, "os_compute_api:os-console-output", instance.project_id)
        length = _of(argument or {}, "os-getConsoleOutput").get("length")
        lines = None if length in (None, -1, "-1") else StrictIntegerField(min_value=-1).run_validation(length)
        return console_log(instance, lines)


class RemoteConsoles(ComputeView):
    """/servers/{id}/remote-consoles"""

    @call("os_compute_api:os-remote-consoles", since="2.6")
    def post(self, request: Request, server_id: str) -> Response:
        """Open a server's console: noVNC or serial."""
        instance = self.instance(server_id)
        wanted = _of(self.body.get("remote_console"), "remote_console")
        protocol, kind = wanted.get("protocol"), wanted.get("type")
        since = CONSOLE_SINCE.get(str(protocol), CONSOLE_SINCE.get(str(kind), "2.6"))
        if set(wanted) != {"protocol", "type"} or (protocol, kind) not in CONSOLES or not self.at(since):
            raise ValidationError(f"Invalid input for field/attribute remote_console. Value: {protocol}, {kind}.")
        url = open_console(self, instance, str(protocol), str(kind))
        return Response({"remote_console": {"protocol": protocol, "type": kind, "url": url}})


def open_console(view: ComputeView, instance: Instance, protocol: str, kind: str) -> str:
    """The address of a console, with a fresh token in it. Raises Invalid for what is not served, and as ``issue``."""
    served = CONSOLES.get((protocol, kind))
    if served is None:
        raise Invalid(f"Unavailable console type {kind}.")
    return issue(instance, view.actor, served)


def _of(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValidationError(f"Invalid input for field/attribute {name}. It must be an object.")
    return value


def _operation(name: str, argument: Any) -> type[Operation]:
    if name == "reboot":
        kind = _of(argument, "reboot").get("type")
        if not isinstance(kind, str) or kind.upper() not in REBOOTS or len(argument) > 1:
            raise ValidationError(
                f"Invalid input for field/attribute type. Value: {str(kind)[:60]}. It must be SOFT or HARD."
            )
        return REBOOTS[kind.upper()]
    if name in NOT_SERVED:
        raise NotServed(f"The action {name} is not served yet.")
    if name not in BY_WIRE:
        raise ParseError(f"There is no such action: {name[:60]}")
    return BY_WIRE[name]
