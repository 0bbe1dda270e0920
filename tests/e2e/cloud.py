"""What the tests ask a running Nacelle for, in the words of its users."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import libvirt

from tests.e2e.nacelle import Nacelle, guests_in, wait_until
from tests.e2e.wire import Wire

LATEST = {"OpenStack-API-Version": "compute latest"}
SERVERS = "/compute/v2.1/servers"
NANO = "42"


class Cloud:
    """The administrator's view of a Nacelle, and libvirt's of its first host."""

    def __init__(self, nacelle: Nacelle) -> None:
        self.nacelle = nacelle
        self.wire: Wire = nacelle.wire()
        self.libvirt: Any = libvirt.open(nacelle.uris[0])

    def close(self) -> None:
        """Let both connections go."""
        self.wire.close()
        self.libvirt.close()

    # servers ---------------------------------------------------------------------------------------
    def server(self, server_id: str) -> dict[str, Any]:
        """A server as the API shows it to an administrator."""
        answer = self.wire.get(f"{SERVERS}/{server_id}", **LATEST)
        assert answer.status == 200, (answer.status, answer.content[:500])
        return dict(answer.json["server"])

    def named(self, name: str) -> dict[str, Any] | None:
        """The server of this name."""
        found = self.wire.get(f"{SERVERS}/detail?name=^{name}$", **LATEST).json["servers"]
        return dict(found[0]) if found else None

    def launch(self, name: str, **more: Any) -> str:
        """Ask for a server of the tiny image, with what else is wanted of it, and return its id."""
        image = self.wire.get("/image/v2/images?name=tiny").json["images"][0]["id"]
        wanted = {"name": name, "flavorRef": NANO, "imageRef": image, "networks": "auto", **more}
        answer = self.wire.post(SERVERS, {"server": wanted}, **LATEST)
        assert answer.status == 202, (answer.status, answer.content[:500])
        return str(answer.json["server"]["id"])

    def wait_for_status(self, server_id: str, status: str, pause: float = 0.1) -> dict[str, Any]:
        """Wait until the server shows this status; ERROR ends the wait when it is not what is wanted."""

        def reached() -> dict[str, Any] | None:
            server = self.server(server_id)
            assert server["status"] in (status, "ACTIVE", "SHUTOFF", "BUILD", "REBOOT", "HARD_REBOOT"), server
            return server if server["status"] == status and server["OS-EXT-STS:task_state"] is None else None

        return dict(wait_until(f"{server_id} is {status}", reached, pause=pause))

    def act(self, server_id: str, **action: Any) -> None:
        """POST /servers/{id}/action."""
        answer = self.wire.post(f"{SERVERS}/{server_id}/action", action)
        assert answer.status == 202, (answer.status, answer.content[:500])

    def act_until(self, server_id: str, status: str, **action: Any) -> Any:
        """POST /servers/{id}/action, and wait until it has ended in this status. The answer's body."""
        answer = self.wire.post(f"{SERVERS}/{server_id}/action", action, **LATEST)
        assert answer.status in (200, 202, 204), (answer.status, answer.content[:500])

        def reached() -> bool:
            server = self.server(server_id)
            assert server["status"] != "ERROR" or status == "ERROR", server
            return server["status"] == status and server["OS-EXT-STS:task_state"] is None

        wait_until(f"{server_id} is {status}", reached, pause=0.1)
        return answer.json if answer.content else None

    def console_log(self, server_id: str) -> str:
        """All that the guest has said on its serial port."""
        answer = self.wire.post(f"{SERVERS}/{server_id}/action", {"os-getConsoleOutput": {}})
        assert answer.status == 200, (answer.status, answer.content[:500])
        return str(answer.json["output"])

    def wait_for_login(self, server_id: str) -> str:
        """Wait for the login prompt in the console log."""
        return str(wait_until("a login prompt", lambda: "login:" in (log := self.console_log(server_id)) and log))

    def delete(self, server_id: str) -> None:
        """Delete it and wait until it is gone."""
        assert self.wire.delete(f"{SERVERS}/{server_id}").status == 204
        wait_until("the server is gone", lambda: self.wire.get(f"{SERVERS}/{server_id}").status == 404)

    @contextlib.contextmanager
    def launched(self, name: str) -> Iterator[str]:
        """A server that is active, for as long as the block runs."""
        server_id = self.launch(name)
        try:
            self.wait_for_status(server_id, "ACTIVE")
            yield server_id
        finally:
            self.delete(server_id)

    def last_action(self, server_id: str) -> dict[str, Any]:
        """The server's last operation."""
        found = self.wire.get(f"{SERVERS}/{server_id}/os-instance-actions", **LATEST).json["instanceActions"]
        return dict(found[0])

    def steps(self, server_id: str) -> list[dict[str, Any]]:
        """The steps of the server's last operation, in the order in which they began."""
        path = f"{SERVERS}/{server_id}/os-instance-actions"
        last = self.last_action(server_id)
        events = self.wire.get(f"{path}/{last['request_id']}", **LATEST).json["instanceAction"]["events"]
        return sorted(events, key=lambda event: str(event["start_time"]))

    # the host --------------------------------------------------------------------------------------
    def guests(self) -> list[str]:
        """The uuids of this Nacelle's guests that libvirt knows."""
        return [domain.UUIDString() for domain in guests_in(self.libvirt, self.nacelle.pool)]

    def is_running(self, server_id: str) -> bool:
        """Whether libvirt runs the server's guest."""
        try:
            return bool(self.libvirt.lookupByUUIDString(server_id).isActive())
        except libvirt.libvirtError:
            return False

    def volumes(self, server_id: str) -> list[str]:
        """The server's volumes in the host's pools, console log included."""
        pools = [self.libvirt.storagePoolLookupByName(self.nacelle.pool + end) for end in ("", "-console")]
        for pool in pools:
            pool.refresh()
        return sorted(name for pool in pools for name in pool.listVolumes() if server_id in name)

    def reservations(self) -> set[str]:
        """The DHCP reservations of this Nacelle's network."""
        (name,) = self.nacelle.networks()
        lines = self.libvirt.networkLookupByName(name).XMLDesc().splitlines()
        return {line.strip() for line in lines if "<host " in line}
