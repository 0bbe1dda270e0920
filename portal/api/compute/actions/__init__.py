"""POST /servers/{id}/action: a table of the keys on the wire and what answers each."""

from __future__ import annotations

from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from compute.operations.delete import ForceDelete
from compute.operations.inject_network_info import InjectNetworkInfo
from compute.operations.pause import Pause, Unpause
from compute.operations.power import Start, Stop
from compute.operations.rescue import Unrescue
from compute.operations.resize_end import ConfirmResize, RevertResize
from compute.operations.shelve import Shelve, ShelveOffload
from compute.operations.soft_delete import Restore
from compute.operations.suspend import Resume, Suspend
from portal.api.compute.actions.admin import crash_dump, password, state
from portal.api.compute.actions.consoles import RemoteConsoles, console, console_output
from portal.api.compute.actions.evacuate import evacuate
from portal.api.compute.actions.handler import Answer, Handler, in_versions, plain
from portal.api.compute.actions.image import create_backup, create_image
from portal.api.compute.actions.lock import lock, unlock
from portal.api.compute.actions.migrate import migrate
from portal.api.compute.actions.migrate_live import migrate_live
from portal.api.compute.actions.network import add_fixed_ip, add_group, remove_fixed_ip, remove_group
from portal.api.compute.actions.reboot import reboot
from portal.api.compute.actions.rebuild import rebuild
from portal.api.compute.actions.rescue import rescue
from portal.api.compute.actions.resize import resize
from portal.api.compute.actions.shelve import unshelve
from portal.api.compute.base import ComputeView, NotServed, call

__all__ = ["HANDLERS", "NOT_SERVED", "RemoteConsoles", "ServerAction", "actions_document"]

HANDLERS: dict[str, Handler] = {
    "os-start": plain(Start),
    "os-stop": plain(Stop),
    "reboot": reboot,
    "pause": plain(Pause),
    "unpause": plain(Unpause),
    "suspend": plain(Suspend),
    "resume": plain(Resume),
    "lock": lock,
    "unlock": unlock,
    "restore": plain(Restore),
    "forceDelete": plain(ForceDelete),
    "changePassword": password,
    "trigger_crash_dump": in_versions(crash_dump, since="2.17"),
    "os-resetState": state,
    "evacuate": evacuate,
    "injectNetworkInfo": plain(InjectNetworkInfo),
    "rebuild": rebuild,
    "rescue": rescue,
    "unrescue": plain(Unrescue),
    "migrate": migrate,
    "resize": resize,
    "confirmResize": plain(ConfirmResize, 204),
    "revertResize": plain(RevertResize),
    "os-migrateLive": migrate_live,
    "createImage": create_image,
    "createBackup": create_backup,
    "shelve": plain(Shelve),
    "shelveOffload": plain(ShelveOffload),
    "unshelve": unshelve,
    "addFixedIp": in_versions(add_fixed_ip, until="2.43"),
    "removeFixedIp": in_versions(remove_fixed_ip, until="2.43"),
    "addSecurityGroup": add_group,
    "removeSecurityGroup": remove_group,
    "os-getConsoleOutput": console_output,
    "os-getVNCConsole": console("vnc"),
    "os-getSPICEConsole": console("spice"),
    "os-getRDPConsole": console("rdp"),
    "os-getSerialConsole": console("serial"),
}
NOVAS = frozenset(
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
        "os-getConsoleOutput",
        "os-getRDPConsole",
        "os-getSPICEConsole",
        "os-getSerialConsole",
        "os-getVNCConsole",
        "os-migrateLive",
        "os-resetState",
        "os-start",
        "os-stop",
        "pause",
        "reboot",
        "rebuild",
        "removeFixedIp",
        "removeFloatingIp",
        "removeSecurityGroup",
        "rescue",
        "resetNetwork",
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
# Nova's actions that Nacelle does not serve yet, so that the answer can say so.
NOT_SERVED = NOVAS - set(HANDLERS)


def actions_document() -> str:
    """The keys of ``POST /servers/{id}/action``: those served, and those of Nova's that are not yet."""
    lines = ["| action | what it does |", "|---|---|"]
    lines += [f"| `{key}` | {(one.__doc__ or '').splitlines()[0]} |" for key, one in sorted(HANDLERS.items())]
    lines += ["", "Not served yet, and answered with 501: " + ", ".join(f"`{key}`" for key in sorted(NOT_SERVED)) + "."]
    return "\n".join(lines)


class ServerAction(ComputeView):
    """/servers/{id}/action"""

    @call("os_compute_api:servers:show")
    def post(self, request: Request, server_id: str) -> Answer:
        """Do something with a server: its life, its log, its consoles."""
        instance = self.instance(server_id)
        if len(self.body) != 1:
            raise ParseError("There is no action in the request body, or more than one.")
        key, argument = next(iter(self.body.items()))
        if key in NOT_SERVED:
            raise NotServed(f"The action {key} is not served yet.")
        if key not in HANDLERS:
            raise ParseError(f"There is no such action: {key[:60]}")
        return HANDLERS[key](self, instance, argument)
