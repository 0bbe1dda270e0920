"""The way over ssh, through a real server: it never asks, and what goes wrong is said with what to do."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import Hypervisor, Unreachable
from compute.hypervisor.libvirt import ssh
from compute.hypervisor.ways import Ways, parameters
from tests.hypervisor.own_sshd import OwnSshd

SYSTEM = "qemu+ssh://root@host/system"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short name: of what ssh says, names and all, libvirt passes on no more than 1024 bytes."""
    with tempfile.TemporaryDirectory(prefix="ssh-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def sshd(tmp_path: Path, libvirtd: None) -> Iterator[OwnSshd]:
    """A server that lets in one key."""
    server = OwnSshd(tmp_path)
    yield server
    server.stop()


def reached(uri: str, folder: Path) -> Hypervisor:
    return open_hypervisor(uri, ways=Ways(ssh_folder=str(folder / "scripts")))


@pytest.mark.real
def test_a_host_is_reached_with_its_own_key_and_host_key(sshd: OwnSshd, tmp_path: Path) -> None:
    hypervisor = reached(sshd.uri(), tmp_path)
    guests = hypervisor.guests()
    hypervisor.close()
    here = open_hypervisor("qemu:///system")
    assert guests.keys() == here.guests().keys()
    here.close()


@pytest.mark.real
def test_a_host_key_that_is_not_known_is_not_taken(sshd: OwnSshd, tmp_path: Path) -> None:
    sshd.know("")
    with pytest.raises(Unreachable, match=r"is not known here.* -p .* true, compare the"):
        reached(sshd.uri(), tmp_path).guests()
    assert sshd.known_hosts.read_text() == ""


@pytest.mark.real
def test_a_host_key_that_has_changed_is_not_taken(sshd: OwnSshd, tmp_path: Path) -> None:
    sshd.know((tmp_path / "other_key.pub").read_text())
    with pytest.raises(Unreachable, match=r"shows another host key than before, SHA256:.*-keygen -f .*hosts -R '\[127"):
        reached(sshd.uri(), tmp_path).guests()


@pytest.mark.real
def test_that_ssh_says_more_than_is_passed_on_is_told(sshd: OwnSshd, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    sshd.known_hosts = folder / "known_hosts"
    sshd.know((tmp_path / "other_key.pub").read_text())
    with pytest.raises(Unreachable, match=r"shows another host key than before\. .* run ssh -p .* true to read it"):
        reached(sshd.uri(), tmp_path).guests()


@pytest.mark.real
def test_a_key_that_the_host_does_not_know_is_told(sshd: OwnSshd, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"does not let us in as .*authorized_keys"):
        reached(sshd.uri(keyfile=str(tmp_path / "other_key")), tmp_path).guests()


@pytest.mark.real
def test_no_server_and_a_server_that_says_nothing_are_told_in_time(sshd: OwnSshd, tmp_path: Path) -> None:
    sshd.stop()
    with pytest.raises(Unreachable, match="does not answer over ssh: connection refused"):
        reached(sshd.uri(), tmp_path).guests()
    with socket.create_server(("127.0.0.1", sshd.port)):
        before = time.monotonic()
        with pytest.raises(Unreachable, match="does not answer"):
            reached(sshd.uri(), tmp_path).guests()
        assert time.monotonic() - before < 60


def test_the_script_never_asks_and_knows_its_host_keys(tmp_path: Path) -> None:
    uri = ssh.without_prompts(f"{SYSTEM}?keyfile=/k&known_hosts=/a%20file", str(tmp_path))
    named = parameters(uri)
    assert (named["keyfile"], named["no_tty"]) == ("/k", "1")
    assert "known_hosts" not in named
    script = Path(named["command"])
    assert script.parent == tmp_path
    assert script.stat().st_mode & 0o777 == 0o700
    text = script.read_text()
    for option in ("-oBatchMode=yes", "-oStrictHostKeyChecking=yes", "'-oUserKnownHostsFile=/a file'", '"$@"'):
        assert option in text
    assert ssh.program(str(tmp_path), "/a file") == script
    assert "KnownHosts" not in ssh.program(str(tmp_path)).read_text()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Cannot recv data: Host key verification failed.: Connection reset by peer", "is not known here"),
        ("ssh: Could not resolve hostname host: Name or service not known", "could not be resolved"),
        ("ssh: connect to host host port 22: Connection timed out", "over ssh: connection timed out"),
        ("ssh: connect to host host port 22: No route to host", "no route to host"),
        ("root@host: Permission denied (publickey,password).", "does not let us in as root"),
        ("Failed to connect socket to '/var/run/libvirt/libvirt-sock'", ""),
    ],
)
def test_what_ssh_says_is_told_with_what_to_do(said: str, expected: str) -> None:
    told = ssh.explain(SYSTEM, said, Ways())
    assert expected in told if expected else told == ""
