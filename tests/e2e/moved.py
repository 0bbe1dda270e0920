"""What the tests ask about instances that go from host to host: where each is, and what is left of it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compute.hypervisor.interface import MAC_PREFIX
from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.lab import domains, reservations, volumes
from tests.e2e.nacelle import wait_until

RUNNING = 1
OFF_OR_ON = {"ACTIVE": True, "SHUTOFF": False}


def host_of(lab: Laboratory, server: dict[str, Any]) -> LabHost:
    """The host that the row names."""
    return next(host for host in lab.hosts if host.name == server["OS-EXT-SRV-ATTR:host"])


def hardware_addresses(server: dict[str, Any]) -> set[str]:
    """Those of the server's cards that no host keeps an address for unless it is told to."""
    cards = {address["OS-EXT-IPS-MAC:mac_addr"] for given in server["addresses"].values() for address in given}
    return {mac for mac in cards if not mac.startswith(MAC_PREFIX)}


def left_on(host: LabHost, server_id: str, macs: set[str], *, shares: bool = False) -> Iterator[str]:
    """What there is of an instance on a host: its guest, volumes and reservations.

    ``shares``: the host sees the instance's disks where they are; its console log alone would be left.
    """
    if server_id in domains(host):
        yield f"its guest is on {host.name}"
    left = [name for name in sorted(volumes(host)) if server_id in name and (name.endswith(".log") or not shares)]
    yield from (f"its volume {name} is on {host.name}" for name in left)
    yield from (f"{mac} is kept an address on {host.name}" for mac in sorted(macs & reservations(host)))


def faults_of(cloud: Cloud, lab: Laboratory, server: dict[str, Any]) -> Iterator[str]:
    """In what rows and hosts disagree about an instance that is to be on one host. None: it is there once, whole."""
    here, server_id = host_of(lab, server), server["id"]
    yield from faults_on(here, server)
    for host in lab.hosts:
        if host is here:
            continue
        if domains(host).get(server_id):
            yield f"its guest runs on {host.name}, too"
        if server["status"] != "VERIFY_RESIZE":  # else what is over there is for taking it back
            yield from left_on(host, server_id, hardware_addresses(server), shares=are_sharing(lab, here, host))
    if server["status"] != "VERIFY_RESIZE" and (under_way := open_migrations(cloud, server_id)):
        yield f"its migrations are {under_way}"


def faults_on(here: LabHost, server: dict[str, Any]) -> Iterator[str]:
    """What is not as it should be on the instance's own host."""
    server_id, there = server["id"], domains(here)
    if not any(name.startswith(server_id) and not name.endswith(".log") for name in volumes(here)):
        yield f"none of its disks is on {here.name}"
    if server_id not in there:
        yield f"no guest is on {here.name}"
    elif there[server_id] != (server["OS-EXT-STS:power_state"] == RUNNING):
        yield f"its guest {'runs' if there[server_id] else 'is off'}; the row says {server['status']}"
    if server["status"] in OFF_OR_ON and OFF_OR_ON[server["status"]] != there.get(server_id, False):
        yield f"the status is {server['status']}"
    if missing := hardware_addresses(server) - reservations(here):
        yield f"{missing} is kept no address on {here.name}"


def are_sharing(lab: Laboratory, one: LabHost, other: LabHost) -> bool:
    """Whether two hosts see the same storage."""
    assert lab.plan is not None
    return {one.number, other.number} <= set(lab.plan.shared)


def differences(cloud: Cloud) -> list[str]:
    """What claims and quotas say that the instances do not."""
    ended = cloud.nacelle.command("check_allocations")
    return [] if ended.returncode == 0 else [ended.stdout + ended.stderr]


def open_migrations(cloud: Cloud, server_id: str) -> list[str]:
    """The states of the server's migrations that are not ended."""
    found = cloud.wire.get("/compute/v2.1/os-migrations", **LATEST).json.get("migrations", [])
    over = ("completed", "failed", "error", "cancelled", "confirmed", "reverted", "done")
    return [one["status"] for one in found if one["instance_uuid"] == server_id and one["status"] not in over]


def settled(cloud: Cloud, lab: Laboratory, server_id: str) -> dict[str, Any]:
    """Wait until nothing is under way, and rows and hosts agree that it is there once. The server then."""
    said: list[str] = []

    def seen() -> dict[str, Any] | None:
        server = cloud.server(server_id)
        if server["OS-EXT-STS:task_state"] is not None or server["status"] in ("BUILD", "MIGRATING", "RESIZE"):
            said[:] = [f"{server['status']}, {server['OS-EXT-STS:task_state']}"]
            return None
        said[:] = list(faults_of(cloud, lab, server)) or differences(cloud)
        return None if said else server

    try:
        return dict(wait_until(f"{server_id} is settled", seen, pause=0.5))
    except AssertionError as error:
        raise AssertionError(f"{error}: {'; '.join(said)}\n{cloud.nacelle.shown()[-8000:]}") from None


def nothing_is_left(cloud: Cloud, lab: Laboratory, server: dict[str, Any]) -> None:
    """Delete it, and wait until no host has anything of it."""
    cloud.delete(server["id"])
    said: list[str] = []

    def gone() -> bool:
        macs = hardware_addresses(server)
        said[:] = [one for host in lab.hosts for one in left_on(host, server["id"], macs)]
        return not said

    try:
        wait_until("nothing is left", gone, pause=0.5)
    except AssertionError as error:
        raise AssertionError(f"{error}: {'; '.join(said)}") from None


def wait_for_host(cloud: Cloud, name: str, state: str) -> None:
    """Wait until the services say so of a host."""

    def reached() -> bool:
        services = cloud.wire.get("/compute/v2.1/os-services?binary=nova-compute").json["services"]
        return any(one["host"] == name and one["state"] == state for one in services)

    wait_until(f"the host {name} is {state}", reached, pause=0.2)


def act(cloud: Cloud, server_id: str, **action: Any) -> None:
    """Ask for an action, whatever it answers with when it is accepted."""
    answer = cloud.wire.post(f"{SERVERS}/{server_id}/action", action, **LATEST)
    assert answer.status in (202, 204), (answer.status, answer.content[:500])
