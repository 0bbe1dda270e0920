"""An ssh server of one's own on loopback, with its own keys: nothing of the machine's is read or changed."""

from __future__ import annotations

import contextlib
import getpass
import socket
import subprocess
import time
from pathlib import Path

from tests.leftovers import place

CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LogLevel ERROR
"""


class OwnSshd:
    """The server, the key that it lets in, and the file that knows its host key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port: int = server.getsockname()[1]
        self.key, self.known_hosts = folder / "key", folder / "known_hosts"
        for name in ("host_key", "key", "other_key"):
            make_key(folder / name)
        (folder / "authorized_keys").write_text((folder / "key.pub").read_text())
        self.know((folder / "host_key.pub").read_text())
        config = folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=folder))
        self._places = contextlib.ExitStack()
        self._places.enter_context(place(Path("/run/sshd")))  # where it locks itself in before the login
        self._server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE)
        self._wait()

    def uri(self, **parameters: str) -> str:
        """The way to this machine's libvirt through it."""
        named = {"keyfile": str(self.key), "known_hosts": str(self.known_hosts), **parameters}
        query = "&".join(f"{name}={value}" for name, value in named.items())
        return f"qemu+ssh://{getpass.getuser()}@127.0.0.1:{self.port}/system?{query}"

    def know(self, public_key: str) -> None:
        """The known host key is this one; "" forgets it."""
        kind_and_key = " ".join(public_key.split()[:2])
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind_and_key}\n" if public_key else "")

    def stop(self) -> None:
        """End it."""
        self._server.terminate()
        self._server.wait()
        self._places.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self._server.poll() is None, self._server.stderr and self._server.stderr.read()
                assert time.monotonic() < deadline, "sshd does not listen"
                time.sleep(0.02)


def make_key(path: Path) -> None:
    """A key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
