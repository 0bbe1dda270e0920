"""The script for a host, run for real, in a mount namespace whose /etc/pki, /etc/libvirt and /run are its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compute.hosts import certificates
from compute.hosts.tls_script import tls_script
from portal.identity.actor import SYSTEM
from tests.leftovers import place

pytestmark = pytest.mark.real

SHIPPED = Path("/etc/libvirt/libvirtd.conf")
# $1 the folder that stands in for the machine's places, $2 the shell; the script comes on standard input.
PREPARE = """
set -e
for place in pki libvirt; do
    mount --bind "$1/etc/$place" "/etc/$place"
done
mount --bind "$1/run" /run
[ ! -e "$1/systemctl" ] || mount --bind "$1/systemctl" /usr/bin/systemctl
folder=$1 shell=$2
shift 2
SEEN=$folder exec $shell -s -- "$@"
"""
# Says what it was asked for; knows what is active from files.
SYSTEMCTL = """#!/bin/sh
case $1 in
    -q) [ -e "$SEEN/active/$3" ];;
    is-enabled) echo enabled;;
    start) shift; echo "start $*" >> "$SEEN/calls"; for one; do touch "$SEEN/active/$one"; done;;
    *) echo "$*" >> "$SEEN/calls";;
esac
"""


@dataclass
class Machine:
    """A host as far as the script sees it."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """What libvirtd reads."""
        return self.folder / "etc/libvirt/libvirtd.conf"

    @property
    def pki(self) -> Path:
        """Where certificates lie."""
        return self.folder / "etc/pki"

    @property
    def calls(self) -> list[str]:
        """What systemctl was told to do."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, script: str, *words: str, shell: str = "dash") -> subprocess.CompletedProcess[str]:
        """Run the script as root would."""
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh", str(self.folder), shell]
        return subprocess.run([*command, *words], input=script, capture_output=True, text=True, check=False)

    def with_systemd(self, *active: str) -> None:
        """From now on there is systemd, and these units are active."""
        (self.folder / "run/systemd/system").mkdir(parents=True)
        (self.folder / "active").mkdir()
        for unit in active:
            (self.folder / "active" / unit).touch()
        (self.folder / "systemctl").write_text(SYSTEMCTL)
        (self.folder / "systemctl").chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A host with libvirt as it is delivered, and no systemd."""
    for name in ("etc/pki", "etc/libvirt", "run"):
        (tmp_path / name).mkdir(parents=True)
    made = Machine(tmp_path)
    made.configuration.write_text(SHIPPED.read_text())
    made.configuration.chmod(0o640)
    with place(Path("/etc/pki")):  # to mount upon
        yield made


@pytest.fixture
def script(settings: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script for a host."""
    settings.DATA_DIR = tmp_path_factory.mktemp("data")
    return tls_script(SYSTEM, "10.0.0.5")


@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
def test_it_lets_in_exactly_this_cloud_and_may_run_again(machine: Machine, script: str, shell: str) -> None:
    done = machine.run(script, shell=shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert "libvirtd --daemon --listen" in done.stdout
    assert "qemu+tls://10.0.0.5/system" in done.stdout
    assert f'tls_allowed_dn_list = ["{certificates.client_name()}"]' in machine.configuration.read_text()
    assert "\nlisten_tls = 1\n" in machine.configuration.read_text()
    modes = {
        str(path.relative_to(machine.pki)): oct(path.stat().st_mode)[-3:] for path in sorted(machine.pki.rglob("*"))
    }
    assert modes == {
        "CA": "755", "CA/cacert.pem": "644",
        "libvirt": "755", "libvirt/servercert.pem": "644",
        "libvirt/private": "700", "libvirt/private/serverkey.pem": "600",
        "qemu": "755", "qemu/ca-cert.pem": "644",
        "qemu/client-cert.pem": "644", "qemu/client-key.pem": "400",
        "qemu/server-cert.pem": "644", "qemu/server-key.pem": "400",
    }  # fmt: skip
    assert {(machine.pki / f"qemu/{role}-key.pem").owner() for role in ("server", "client")} == {"libvirt-qemu"}
    assert oct(machine.configuration.stat().st_mode)[-3:] == "640"
    before = {path: path.read_text() for path in machine.folder.rglob("*.[pc]*") if path.is_file()}
    assert machine.run(script, shell=shell).returncode == 0
    newer = tls_script(SYSTEM, "10.0.0.5")
    assert machine.run(newer, shell=shell).returncode == 0
    after = {path: path.read_text() for path in before}
    changed = {path.name for path in before if before[path] != after[path]}
    peer = {f"{role}-{what}.pem" for role in ("server", "client") for what in ("cert", "key")}
    assert changed == {"servercert.pem", "serverkey.pem"} | peer


def test_with_systemd_the_socket_is_started_and_enabled(machine: Machine, script: str) -> None:
    machine.with_systemd("libvirtd.socket", "libvirtd.service")
    done = machine.run(script)
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.calls == [
        "stop libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket",
        "enable libvirtd-tls.socket",
        "start libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd-tls.socket",
        "restart libvirtd.service",
    ]
    machine.run(script)
    assert machine.calls[4:] == ["restart libvirtd.service"]


def test_where_the_daemons_are_many_it_is_the_proxys_socket(machine: Machine, script: str) -> None:
    machine.with_systemd("virtqemud.socket")
    (machine.folder / "etc/libvirt/virtproxyd.conf").write_text("# as delivered\n")
    assert machine.run(script).returncode == 0
    assert "enable virtproxyd-tls.socket" in machine.calls
    assert "tls_allowed_dn_list" in (machine.folder / "etc/libvirt/virtproxyd.conf").read_text()
    assert machine.configuration.read_text() == SHIPPED.read_text()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('tls_allowed_dn_list = ["CN=other"]', r"has a tls_allowed_dn_list already. Add .CN=nacelle-"),
        ("tls_no_verify_certificate = 1", "lets everybody in"),
        ('auth_tls = "sasl"', "asks for a password"),
        ('key_file = "/etc/elsewhere"', "has key_file"),
        ("listen_tls = 0", "has listen_tls = 0"),
    ],
)
def test_what_stands_in_the_way_is_said_and_nothing_is_changed(
    machine: Machine, script: str, line: str, why: str
) -> None:
    machine.configuration.write_text(f"{line}\n")
    refused = machine.run(script)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Nothing was changed: ")
    assert re.search(why, refused.stderr)
    assert machine.configuration.read_text() == f"{line}\n"
    assert list(machine.pki.iterdir()) == []


def test_the_keys_for_migration_are_for_whom_qemu_runs_as(machine: Machine, script: str) -> None:
    (machine.folder / "etc/libvirt/qemu.conf").write_text('#user = "x"\nuser = "nobody"\n')
    assert machine.run(script).returncode == 0
    assert (machine.pki / "qemu/server-key.pem").owner() == "nobody"


@pytest.mark.parametrize("place", ["CA/cacert.pem", "qemu/ca-cert.pem"])
def test_another_authority_is_left_alone_unless_it_is_told(machine: Machine, script: str, place: str) -> None:
    (machine.pki / place).parent.mkdir()
    (machine.pki / place).write_text("another's\n")
    refused = machine.run(script)
    assert refused.returncode == 1
    assert "is another authority's" in refused.stderr
    assert [path for path in machine.pki.rglob("*") if path.is_file()] == [machine.pki / place]
    assert machine.run(script, "--replace").returncode == 0
    assert (machine.pki / f"{place}.before-nacelle").read_text() == "another's\n"
    assert (machine.pki / place).read_text().strip() in script


@pytest.mark.parametrize("word", ["--help", "x; rm -rf /"])
def test_no_other_words_are_taken(machine: Machine, script: str, word: str) -> None:
    assert "the only option is --replace" in machine.run(script, word).stderr


def test_without_libvirt_it_says_what_to_install(machine: Machine, script: str) -> None:
    machine.configuration.unlink()
    assert "install libvirt first" in machine.run(script).stderr
