"""Instances on real QEMU: the first one, another, power, and what a deletion leaves behind."""

from __future__ import annotations

import contextlib

import libvirt
import pytest

from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.nacelle import wait_until
from tests.e2e.serial_port import SerialPort

pytestmark = pytest.mark.real


def test_the_first_start_launches_hello_up_to_its_login_prompt(cloud: Cloud) -> None:
    hello = cloud.named("hello")
    assert hello is not None
    assert hello["status"] == "ACTIVE"
    assert "hello login:" in cloud.wait_for_login(hello["id"])
    assert cloud.is_running(hello["id"])


def test_an_instance_is_deleted_without_a_trace(cloud: Cloud) -> None:
    before = (cloud.guests(), cloud.reservations())
    limits = "/compute/v2.1/limits"
    used = cloud.wire.get(limits).json["limits"]["absolute"]["totalInstancesUsed"]
    with cloud.launched("brief") as server_id:
        assert cloud.is_running(server_id)
        assert len(cloud.volumes(server_id)) == 3
        assert cloud.wire.get(limits).json["limits"]["absolute"]["totalInstancesUsed"] == used + 1
    assert (cloud.guests(), cloud.reservations()) == before
    assert cloud.volumes(server_id) == []
    assert cloud.wire.get(limits).json["limits"]["absolute"]["totalInstancesUsed"] == used


def test_a_boot_does_not_change_the_running_network(cloud: Cloud) -> None:
    """Every address is reserved from the start for the MAC that a port then gets."""
    before = cloud.reservations()
    with cloud.launched("quiet"):
        assert cloud.reservations() == before


def test_a_guest_that_powers_itself_off_is_shown_as_off(cloud: Cloud) -> None:
    with cloud.launched("tired") as server_id:
        cloud.wait_for_login(server_id)
        with SerialPort(cloud.libvirt, server_id) as port:
            port.log_in()
            port.type("poweroff\n")
            server = cloud.wait_for_status(server_id, "SHUTOFF")
        assert server["OS-EXT-STS:power_state"] == 4
        assert not cloud.is_running(server_id)


def test_power_goes_off_and_on_and_a_reboot_starts_the_guest_anew(cloud: Cloud) -> None:
    with cloud.launched("worker") as server_id:
        cloud.wait_for_login(server_id)
        cloud.act(server_id, **{"os-stop": None})
        cloud.wait_for_status(server_id, "SHUTOFF")
        assert not cloud.is_running(server_id)
        cloud.act(server_id, **{"os-start": None})
        cloud.wait_for_status(server_id, "ACTIVE")
        cloud.wait_for_login(server_id)
        for kind in ("SOFT", "HARD"):
            before = cloud.libvirt.lookupByUUIDString(server_id).ID()
            cloud.act(server_id, reboot={"type": kind})
            cloud.wait_for_status(server_id, "ACTIVE")
            assert cloud.libvirt.lookupByUUIDString(server_id).ID() != before
            cloud.wait_for_login(server_id)


def test_a_guest_that_somebody_else_starts_is_powered_off_again(cloud: Cloud) -> None:
    with cloud.launched("sleeper") as server_id:
        cloud.act(server_id, **{"os-stop": None})
        cloud.wait_for_status(server_id, "SHUTOFF")
        with contextlib.suppress(libvirt.libvirtError):  # it may be off again before it is quite on
            cloud.libvirt.lookupByUUIDString(server_id).create()

        def logged() -> list[str]:
            found = cloud.wire.get(f"{SERVERS}/{server_id}/os-instance-actions", **LATEST).json["instanceActions"]
            return [str(one["action"]) for one in found]

        wait_until("it was noticed", lambda: logged() == ["stop", "stop", "create"])
        cloud.wait_for_status(server_id, "SHUTOFF")
        assert not cloud.is_running(server_id)
