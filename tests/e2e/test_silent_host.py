"""One host that hangs, and a cloud whose workers are few: operations on the other hosts go on at once.

The hosts are fake ones, which can hang at every call; everything else is real.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from compute.hypervisor.fake import FakeHypervisor
from compute.hypervisor.fake.faults import FOR_EVER, Fault
from tests.e2e.cloud import LATEST, NANO, SERVERS
from tests.e2e.nacelle import Nacelle, wait_until
from tests.e2e.wire import Wire

pytestmark = pytest.mark.real

WORKERS = 2


class FakeCloud:
    """A Nacelle with two fake hosts, ``near`` and ``far``."""

    def __init__(self) -> None:
        self.nacelle = Nacelle(NACELLE_WORKERS_COMPUTE=str(WORKERS), NACELLE_HOST_SAMPLE_SECONDS="1")
        self.uris = {name: f"fake://{self.nacelle.folder}/{name}.fake?host={name}" for name in ("near", "far")}
        self.nacelle.build_image()
        commands = [("bootstrap",), *(("host", "add", uri, "--name", name) for name, uri in self.uris.items())]
        for command in commands:
            ended = self.nacelle.command(*command)
            assert ended.returncode == 0, ended
        self.nacelle.start()
        self.wire: Wire = self.nacelle.wire()

    def remove(self) -> None:
        """Nothing of it stays."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.nacelle.stop()
        if self.nacelle.process is not None:
            for process in reversed(self.nacelle.processes()):
                process.kill()
        self.nacelle.servers.remove()
        shutil.rmtree(self.nacelle.folder, ignore_errors=True)

    def driver(self, name: str) -> FakeHypervisor:
        """The host itself, to give it trouble."""
        return FakeHypervisor(self.uris[name])

    def launch(self, name: str, host: str) -> str:
        """A server that is active on this host."""
        image = self.wire.get("/image/v2/images?name=tiny").json["images"][0]["id"]
        wanted = {"name": name, "flavorRef": NANO, "imageRef": image, "networks": "auto", "host": host}
        answer = self.wire.post(SERVERS, {"server": wanted}, **LATEST)
        assert answer.status == 202, answer.content[:500]
        server = str(answer.json["server"]["id"])
        self.reaches(server, "ACTIVE")
        return server

    def act(self, server: str, **action: Any) -> None:
        """Ask for something."""
        answer = self.wire.post(f"{SERVERS}/{server}/action", action)
        assert answer.status == 202, answer.content[:500]

    def reaches(self, server: str, status: str) -> None:
        """Wait until it is so, and nothing is under way."""

        def reached() -> bool:
            found = self.wire.get(f"{SERVERS}/{server}", **LATEST).json["server"]
            assert found["status"] != "ERROR", found
            return bool(found["status"] == status and found["OS-EXT-STS:task_state"] is None)

        wait_until(f"{server} is {status}", reached)

    def service(self, host: str) -> dict[str, Any]:
        """What the API says of a host."""
        (found,) = self.wire.get(f"/compute/v2.1/os-services?host={host}").json["services"]
        return dict(found)


@pytest.fixture(scope="module")
def cloud() -> Iterator[FakeCloud]:
    """With both hosts up."""
    own = FakeCloud()
    try:
        wait_until("both are up", lambda: all(own.service(name)["state"] == "up" for name in own.uris))
        yield own
    finally:
        own.remove()


def test_operations_on_a_host_that_hangs_do_not_hold_up_the_other(cloud: FakeCloud) -> None:
    """As many as there are workers, and then more, ask for what the hanging host does not do."""
    stuck = [cloud.launch(f"stuck-{number}", "near") for number in range(2 * WORKERS)]
    free = cloud.launch("free", "far")
    near = cloud.driver("near")
    near.inject(Fault("*", do="hang", times=FOR_EVER))
    try:
        for server in stuck:
            cloud.act(server, **{"os-stop": None})
        cloud.act(free, **{"os-stop": None})
        cloud.reaches(free, "SHUTOFF")
        # now that it is known to be silent, the other host's operations do not even notice
        cloud.act(free, **{"os-start": None})
        cloud.reaches(free, "ACTIVE")
        cloud.reaches(cloud.launch("new", "far"), "ACTIVE")
        states = {cloud.wire.get(f"{SERVERS}/{one}", **LATEST).json["server"]["status"] for one in stuck}
        assert states == {"ACTIVE"}  # they wait
        assert cloud.service("far")["state"] == "up"
    finally:
        near.heal()
    for server in stuck:
        cloud.reaches(server, "SHUTOFF")
