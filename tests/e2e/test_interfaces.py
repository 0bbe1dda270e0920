"""Network cards on real QEMU, as the guest sees them: plugged in and out while it runs, and there after a start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.nacelle import wait_until
from tests.e2e.serial_port import asked

pytestmark = pytest.mark.real
NETWORK = "/network/v2.0"
RANGE = "10.193.7"  # private addresses that no other test and no default uses


def is_on_host(cloud: Cloud, network_id: str) -> bool:
    """Whether libvirt knows the network."""
    try:
        cloud.libvirt.networkLookupByUUIDString(network_id)
    except libvirt.libvirtError:
        return False
    return True


@pytest.fixture
def backstage(cloud: Cloud) -> Iterator[str]:
    """A network of its own, which leaves nothing on the host when it goes. It has no range yet: as long as
    it has none, a server that names no network is on the other one."""
    network_id = cloud.wire.post(f"{NETWORK}/networks", {"network": {"name": "backstage"}}).json["network"]["id"]
    yield network_id
    assert cloud.wire.delete(f"{NETWORK}/networks/{network_id}").status == 204
    wait_until("the network is gone from the host", lambda: not is_on_host(cloud, network_id))


@contextlib.contextmanager
def launched(cloud: Cloud, backstage: str) -> Iterator[str]:
    """A server on the other network, and a range for this one."""
    with cloud.launched("cards") as server_id:
        wanted = {"network_id": backstage, "cidr": f"{RANGE}.0/24", "ip_version": 4}
        assert cloud.wire.post(f"{NETWORK}/subnets", {"subnet": wanted}).status == 201
        yield server_id


def cards(cloud: Cloud, server_id: str) -> list[dict[str, Any]]:
    """The server's network cards."""
    found: list[dict[str, Any]] = cloud.wire.get(f"{SERVERS}/{server_id}/os-interface", **LATEST).json[
        "interfaceAttachments"
    ]
    return found


def attach(cloud: Cloud, server_id: str, **wanted: Any) -> str:
    """Attach a card, and wait until it is in use. Returns its port's id."""
    answer = cloud.wire.post(f"{SERVERS}/{server_id}/os-interface", {"interfaceAttachment": wanted}, **LATEST)
    assert answer.status == 200, (answer.status, answer.content[:500])
    port_id = str(answer.json["interfaceAttachment"]["port_id"])

    def attached() -> bool:
        states = {card["port_id"]: card["port_state"] for card in cards(cloud, server_id)}
        assert port_id in states, "the card was given up"
        return states[port_id] == "ACTIVE"

    wait_until("the card is attached", attached)
    return port_id


def detach(cloud: Cloud, server_id: str, port_id: str) -> None:
    """Detach a card, and wait until it is gone."""
    assert cloud.wire.delete(f"{SERVERS}/{server_id}/os-interface/{port_id}").status == 202
    wait_until("the card is gone", lambda: port_id not in {card["port_id"] for card in cards(cloud, server_id)})


def seen(cloud: Cloud, server_id: str) -> str:
    """The guest's cards and IPv4 addresses, in its own words."""
    return asked(cloud, server_id, "ls /sys/class/net | xargs echo cards", "ip -4 -o addr")


def wait_until_seen(cloud: Cloud, server_id: str, address: str) -> str:
    """Wait until the guest has this address; DHCP takes a moment."""
    return str(
        wait_until(f"the guest has {address}", lambda: f" {address}/" in (said := seen(cloud, server_id)) and said)
    )


@contextlib.contextmanager
def stopped(cloud: Cloud, server_id: str) -> Iterator[None]:
    """Off for as long as the block runs."""
    cloud.act_until(server_id, "SHUTOFF", **{"os-stop": None})
    yield
    cloud.act_until(server_id, "ACTIVE", **{"os-start": None})


def test_cards_come_and_go_while_the_guest_runs(cloud: Cloud, backstage: str) -> None:
    with launched(cloud, backstage) as server_id:
        assert "cards eth0 lo" in seen(cloud, server_id)
        first = attach(cloud, server_id, net_id=backstage, fixed_ips=[{"ip_address": f"{RANGE}.50"}], tag="back")
        said = wait_until_seen(cloud, server_id, f"{RANGE}.50")
        assert "cards eth0 eth1 lo" in said
        assert "1 packets received" in asked(cloud, server_id, f"ping -c 1 -W 5 {RANGE}.1")
        assert [card["tag"] for card in cards(cloud, server_id)] == [None, "back"]
        detach(cloud, server_id, first)
        said = seen(cloud, server_id)
        assert "cards eth0 lo" in said and f"{RANGE}.50" not in said


def test_a_card_is_there_after_every_start(cloud: Cloud, backstage: str) -> None:
    with launched(cloud, backstage) as server_id:
        first = attach(cloud, server_id, net_id=backstage, fixed_ips=[{"ip_address": f"{RANGE}.60"}])
        cloud.act_until(server_id, "ACTIVE", reboot={"type": "HARD"})
        wait_until_seen(cloud, server_id, f"{RANGE}.60")
        with stopped(cloud, server_id):
            attach(cloud, server_id, net_id=backstage, fixed_ips=[{"ip_address": f"{RANGE}.61"}])
            detach(cloud, server_id, first)
        said = wait_until_seen(cloud, server_id, f"{RANGE}.61")
        assert "cards eth0 eth1 lo" in said and f"{RANGE}.60" not in said


def test_a_paused_guest_has_its_card_when_it_goes_on(cloud: Cloud, backstage: str) -> None:
    with launched(cloud, backstage) as server_id:
        cloud.wait_for_login(server_id)
        cloud.act_until(server_id, "PAUSED", pause=None)
        port_id = attach(cloud, server_id, net_id=backstage, fixed_ips=[{"ip_address": f"{RANGE}.62"}])
        assert cloud.wire.delete(f"{SERVERS}/{server_id}/os-interface/{port_id}").status == 409
        cloud.act_until(server_id, "ACTIVE", unpause=None)
        wait_until_seen(cloud, server_id, f"{RANGE}.62")
