"""A libvirtd of its own, in namespaces: it may be killed or stand still without harm to this machine's.

It has its own network, host name, configuration and state, as another host would; only its socket is
reached over a folder that both see.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import libvirt

from tests.e2e.nacelle import wait_until

STATE = ("images", "qemu", "boot", "dnsmasq", "network")
PREPARE = """
set -e
hostname far
ip link set lo up
for place in etc run lib cache; do
    case $place in etc) target=/etc/libvirt;; run) target=/run/libvirt;; *) target=/var/$place/libvirt;; esac
    mount --bind "$1/$place" "$target"
done
virtlogd --daemon --pid-file /run/libvirt/virtlogd.pid
echo ready
exec sleep infinity
"""


class OwnLibvirtd:
    """The daemon, and the log daemon that it needs. Only root can start them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="far-"))
        self.uri = f"qemu+unix:///system?socket={self.folder}/run/libvirt-sock"
        for name in ("run", "cache", *(f"lib/{one}" for one in STATE)):
            (self.folder / name).mkdir(parents=True)
        shutil.copytree("/etc/libvirt", self.folder / "etc", symlinks=True)
        for link in (self.folder / "etc" / "qemu").glob("**/autostart/*"):
            link.unlink()
        with (self.folder / "etc" / "libvirtd.conf").open("a") as settings:
            settings.write(f'\nhost_uuid = "{uuid.uuid4()}"\nauth_unix_rw = "none"\n')
        self.folder.chmod(0o755)
        self.keeper = self._make_namespaces()
        self.daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again after a kill, and wait until it answers."""
        enter = ["nsenter", "--target", str(self.keeper.pid), "--mount", "--net", "--uts"]
        with (self.folder / "log").open("ab") as log:
            command = [*enter, "libvirtd", "--pid-file", "/run/libvirt/libvirtd.pid"]
            self.daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until("libvirtd answers", self._answers)

    def kill(self) -> None:
        """End it without warning. Its guests go on."""
        self.send(signal.SIGKILL)
        if self.daemon is not None:
            self.daemon.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes it a host that is there and does not answer."""
        os.kill(int((self.folder / "run" / "libvirtd.pid").read_text()), number)

    def remove(self) -> None:
        """End both daemons and the namespaces. The guests must be gone."""
        with contextlib.suppress(OSError, ValueError):
            self.send(signal.SIGCONT)
            self.kill()
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.folder / "run" / "virtlogd.pid").read_text()), signal.SIGTERM)
        self.keeper.kill()
        self.keeper.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_namespaces(self) -> subprocess.Popen[bytes]:
        unshare = ["unshare", "--net", "--mount", "--uts", "--propagation", "private"]
        command = [*unshare, "sh", "-c", PREPARE, "sh", str(self.folder)]
        keeper = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == b"ready\n", "the namespaces could not be made"
        return keeper

    def _answers(self) -> bool:
        try:
            libvirt.open(self.uri).close()
            return True
        except libvirt.libvirtError:
            return False
