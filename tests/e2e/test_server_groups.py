"""The lesson of the field with the real `openstack` command: three hosts, a group apart, a group together, zones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.nacelle import Nacelle
from tests.e2e.openstack_command import OpenStack

pytestmark = [pytest.mark.real, pytest.mark.client]

HOSTS = ("host-a", "host-b", "host-c")
CREATE = ("server", "create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--wait")


@pytest.fixture(scope="module")
def three() -> Iterator[Nacelle]:
    """A Nacelle with three hosts, all fake: where a server goes is decided before a hypervisor has a part in it."""
    own = Nacelle()
    try:
        own.build_image()
        assert own.command("bootstrap").returncode == 0
        for name in HOSTS:
            added = own.command("host", "add", f"fake://{own.folder}/hosts.sqlite3?host={name}", "--name", name)
            assert added.returncode == 0, added
        own.start()
        yield own
    finally:
        own.remove()


@pytest.fixture
def command(three: Nacelle, tmp_path: Path) -> OpenStack:
    """The `openstack` command as its administrator."""
    return OpenStack(three, tmp_path)


def launch(command: OpenStack, name: str, *words: str) -> str:
    """Create a server and return its host."""
    return str(command.json(*CREATE, *words, name)["OS-EXT-SRV-ATTR:host"])


def test_zones_and_hosts(command: OpenStack) -> None:
    busy = command.json("server", "show", "hello")["OS-EXT-SRV-ATTR:host"]
    host, other = (name for name in HOSTS if name != busy)
    command("aggregate", "create", "--zone", "east", "rack")
    command("aggregate", "add", "host", "rack", host)
    assert launch(command, "east", "--availability-zone", "east") == host
    assert launch(command, "forced", "--availability-zone", f"nova:{other}") == other
    assert launch(command, "asked", "--host", busy) == busy
    shown = command.json("server", "show", "east")
    assert (shown["OS-EXT-AZ:availability_zone"], shown["pinned_availability_zone"]) == ("east", "east")
    assert "has instances" in command.refused("aggregate", "remove", "host", "rack", host)


def test_apart_and_together(command: OpenStack) -> None:
    apart = command.json("server", "group", "create", "--policy", "anti-affinity", "apart")["id"]
    together = command.json("server", "group", "create", "--policy", "affinity", "together")["id"]
    found = [launch(command, f"apart-{number}", "--hint", f"group={apart}") for number in range(3)]
    assert sorted(found) == list(HOSTS)
    assert command.refused(*CREATE, "--hint", f"group={apart}", "apart-3")
    fourth = command.json("server", "show", "apart-3")
    reason = fourth["fault"]["message"]
    assert fourth["status"] == "ERROR" and "server group" in reason and reason.count(". ") == 0
    assert len({launch(command, f"together-{number}", "--hint", f"group={together}") for number in range(2)}) == 1
    assert len(command.json("server", "group", "show", "apart")["members"]) == 4
