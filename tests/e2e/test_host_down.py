"""A host whose libvirtd dies or hangs: it is down, the API answers as ever, and it comes back by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from portal.setup.lab.host import LabHost
from tests.e2e.cloud import SERVERS, Cloud
from tests.e2e.lab import LAB_SETTINGS
from tests.e2e.nacelle import Nacelle, wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=1),
]

READS = (
    f"{SERVERS}/detail",
    "/compute/v2.1/os-hypervisors/detail",
    "/compute/v2.1/os-services",
    "/compute/v2.1/flavors/detail",
    "/image/v2/images",
    "/network/v2.0/networks",
    "/network/v2.0/ports",
)


@pytest.fixture(scope="module")
def far_cloud(far: LabHost) -> Iterator[Cloud]:
    """A Nacelle whose only host has that libvirtd, with ``hello`` running on it."""
    own = Nacelle(far.uri, NACELLE_HOST_DOWN_AFTER="5", NACELLE_HOST_SAMPLE_SECONDS="1", **LAB_SETTINGS)
    try:
        own.build_image()
        own.start_on_hosts("far")
        cloud = Cloud(own)
        hello = wait_until("hello", lambda: cloud.named("hello"))
        cloud.wait_for_status(hello["id"], "ACTIVE")
        yield cloud
        cloud.close()
    finally:
        own.remove(leave_hosts=True)


def wait_for_host(cloud: Cloud, state: str) -> None:
    """Wait until the services say so of the host."""

    def reached() -> bool:
        (service,) = cloud.wire.get("/compute/v2.1/os-services?binary=nova-compute").json["services"]
        return bool(service["state"] == state)

    wait_until(f"the host is {state}", reached, pause=0.2)


def assert_reads_are_answered(cloud: Cloud) -> None:
    """Nothing that only reads needs the host; a call to it would never return."""
    for path in READS:
        assert cloud.wire.get(path).status == 200, path


def test_a_killed_libvirtd_is_a_host_that_is_down_until_it_is_back(far: LabHost, far_cloud: Cloud) -> None:
    wait_for_host(far_cloud, "up")
    far.kill_libvirtd()
    try:
        wait_for_host(far_cloud, "down")
        assert_reads_are_answered(far_cloud)
        hello = far_cloud.named("hello")
        assert hello is not None
        assert hello["status"] == "ACTIVE"
    finally:
        far.start_libvirtd()
    wait_for_host(far_cloud, "up")
    assert far_cloud.named("hello")["OS-EXT-STS:power_state"] == 1  # type: ignore[index]  # it is there


def test_a_libvirtd_that_hangs_is_a_host_that_is_down(far: LabHost, far_cloud: Cloud) -> None:
    wait_for_host(far_cloud, "up")
    far.signal_libvirtd(signal.SIGSTOP)
    try:
        wait_for_host(far_cloud, "down")
        assert_reads_are_answered(far_cloud)
        refused = far_cloud.launch("nowhere")
        wait_until("no valid host", lambda: far_cloud.server(refused)["status"] == "ERROR")
        assert "No valid host was found" in far_cloud.server(refused)["fault"]["message"]
        far_cloud.delete(refused)
    finally:
        far.signal_libvirtd(signal.SIGCONT)
    wait_for_host(far_cloud, "up")
