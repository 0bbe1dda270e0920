"""A Nacelle of its own: `manage.py run` in a temporary folder, with ports, a storage pool and addresses apart.

A Nacelle that runs on the same machine is not disturbed, and nothing stays: ``remove`` takes away every
guest, volume, pool and network that this one has made. It needs libvirt and the rights to use it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import libvirt
import psutil
import psycopg
import yaml
from psycopg import sql

from compute.hypervisor.libvirt import daemons
from compute.hypervisor.libvirt.xml import NAMESPACE
from compute.images.tiny import build as tiny
from tests.e2e.wire import Wire

ROOT = Path(__file__).resolve().parents[2]
LOCAL_URI = "qemu:///system"
IMAGES = Path("/var/lib/libvirt/images")
BANNER = "Ctrl-C stops Nacelle"
PATIENCE = 120.0
# libvirt says each error on standard error as well as raising it.
libvirt.registerErrorHandler(lambda *_: None, None)
UNDEFINE_WHOLE = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
PROGRAMS = ("web", "worker-compute", "worker-transfer", "watcher", "console-proxy")


def wait_until(what: str, look: Callable[[], Any], seconds: float = PATIENCE, pause: float = 0.05) -> Any:
    """Look until something true comes, and return it. Raises AssertionError with ``what`` when it never does."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never came to be: {what}")
        time.sleep(pause)
    return found


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def free_range() -> str:
    """A /20, as large as the real one, that no route of this machine goes to."""
    routed = {line.split()[1][6:] + line.split()[1][4:6] for line in Path("/proc/net/route").read_text().splitlines()}
    while True:
        second, third = 128 + secrets.randbelow(100), 16 * secrets.randbelow(16)
        if f"0A{second:02X}" not in routed:
            return f"10.{second}.{third}.0/20"


@functools.cache
def tiny_image() -> Path:
    """The tiny guest, built once a run. The packages that it needs are kept in ``var``."""
    folder = Path(tempfile.mkdtemp(prefix="nacelle-tiny-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tiny.build(folder / "tiny.qcow2", ROOT / "var" / "tiny-work")
    return folder / "tiny.qcow2"


class Servers:
    """A database and a queue of its own, on the servers that DATABASE_URL and REDIS_URL name, if they do."""

    _queues = itertools.count(1)

    def __init__(self, name: str) -> None:
        self.name = name
        self.environment: dict[str, str] = {}
        self.database = os.environ.get("DATABASE_URL", "")
        if self.database:
            self.environment["DATABASE_URL"] = urlsplit(self.database)._replace(path=f"/{name}").geturl()
            self._say("CREATE DATABASE {}")
        if queue := os.environ.get("REDIS_URL", ""):
            self.environment["REDIS_URL"] = urlsplit(queue)._replace(path=f"/{next(self._queues)}").geturl()

    def remove(self) -> None:
        """Drop the database."""
        if self.database:
            self._say("DROP DATABASE IF EXISTS {} WITH (FORCE)")

    def _say(self, statement: LiteralString) -> None:
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(self.name)))


class Nacelle:
    """One Nacelle. ``start`` and ``stop`` may be called again and again; the data stay until ``remove``."""

    def __init__(self, *uris: str, **settings: str) -> None:
        self.uris = uris or (LOCAL_URI,)
        self.folder = Path(tempfile.mkdtemp(prefix="nacelle-own-"))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.pool = settings.get("NACELLE_STORAGE_POOL", self.folder.name)
        self.address = f"127.0.0.1:{free_port()}"
        self.console_address = f"127.0.0.1:{free_port()}"
        self.settings = {
            "NACELLE_DATA_DIR": str(self.data),
            "NACELLE_BIND": self.address,
            "NACELLE_CONSOLE_BIND": self.console_address,
            "NACELLE_STORAGE_POOL": self.pool,
            "NACELLE_STORAGE_POOL_PATH": str(IMAGES / self.pool),
            "NACELLE_PRIVATE_CIDR": free_range(),
            "NACELLE_ENABLE_INSTANCE_PASSWORD": "false",  # the tiny guest then has the password that tests type
            **settings,
        }
        self.servers = Servers(self.folder.name.replace("-", "_"))
        self.process: subprocess.Popen[bytes] | None = None
        self._shown = 0

    # its life --------------------------------------------------------------------------------------
    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes: this one's, without what belongs to the tests alone."""
        alone = ("DJANGO_SETTINGS_MODULE", "NACELLE_SECRET_KEY", "NACELLE_PUBLIC_URL")
        inherited = {name: value for name, value in os.environ.items() if name not in alone}
        return {**inherited, **self.servers.environment, **self.settings}

    def build_image(self) -> None:
        """Put the tiny guest where the set-up looks for it."""
        self.data.mkdir(mode=0o750, exist_ok=True)
        if not (self.data / "tiny.qcow2").exists():
            shutil.copyfile(tiny_image(), self.data / "tiny.qcow2")

    def start(self) -> None:
        """Start it and wait for the banner."""
        self.launch()
        self.wait_for_output(BANNER)

    def start_on_hosts(self, *names: str) -> None:
        """Start it for the first time, with the hosts of its URIs alone, named so, until it has seen to each.

        Its look at their storage makes a volume there, which a test that holds such a call would take for its own.
        """
        adding = [("host", "add", uri, "--name", name) for uri, name in zip(self.uris, names, strict=True)]
        for command in (("bootstrap",), *adding):
            ended = self.command(*command)
            assert ended.returncode == 0, ended
        self.start()
        for name in names:
            self.wait_for_output(f"host {name}: its storage is")

    def launch(self) -> None:
        """Start it."""
        self.data.mkdir(mode=0o750, exist_ok=True)
        self._shown = len(self.output())
        with self.log.open("ab") as log:
            command = [sys.executable, "manage.py", "run"]
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another management command with its settings."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it by a signal to its first process, and return what it wrote since it was started."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None
        return self.shown()

    def output(self) -> str:
        """All that it wrote."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def shown(self) -> str:
        """What it wrote since it was started last."""
        return self.output()[self._shown :]

    def wait_for_output(self, text: str) -> str:
        """Wait until it has written this since it was started last, and return that line."""

        def line() -> str:
            found = next((line for line in self.shown().splitlines() if text in line), "")
            if not found and self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"it ended before it wrote {text!r}:\n{self.shown()[-5000:]}")
            return found

        try:
            return str(wait_until(text, line))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.shown()[-5000:]}") from None

    # its processes ---------------------------------------------------------------------------------
    def processes(self) -> list[psutil.Process]:
        """Every process of it, the first one first; libvirt's daemons are none of it."""
        if self.process is None:
            return []
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def program(self, name: str) -> psutil.Process | None:
        """The process that runs a program of the supervisor, or None while it does not."""
        with contextlib.suppress(psutil.Error):
            for process in self.processes()[1:]:
                with contextlib.suppress(psutil.Error):
                    if process.ppid() == self.process.pid and title(process) == f"nacelle {name}":  # type: ignore[union-attr]  # it was started
                        return process
        return None

    # what it is asked ------------------------------------------------------------------------------
    @property
    def credentials(self) -> dict[str, str]:
        """The ``auth`` of its clouds.yaml."""
        cloud = yaml.safe_load((self.data / "clouds.yaml").read_text())["clouds"]["nacelle"]
        return {name: str(value) for name, value in cloud["auth"].items()}

    def wire(self) -> Wire:
        """A connection with the administrator's token."""
        wire = Wire(self.address)
        wire.log_in(self.credentials)
        return wire

    # its end ---------------------------------------------------------------------------------------
    def remove(self, *, leave_hosts: bool = False) -> None:
        """Stop it, then remove whatever it made on its hosts (unless these go too), and its folder."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()
        if self.process is not None:
            for process in reversed(self.processes()):
                process.kill()
            self.process.wait()
        if not leave_hosts:
            self._clear_hosts()
        self.servers.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _clear_hosts(self) -> None:
        folder = self.folder / "daemons"
        if LOCAL_URI in self.uris:
            daemons.ensure_running(folder)
        try:
            for uri in self.uris:
                with contextlib.closing(libvirt.open(uri)) as connection:
                    clear(connection, self.pool, self.networks(uri))
        finally:
            daemons.stop(folder)
            daemons.stop(self.data / "libvirt")

    def networks(self, uri: str = "") -> list[str]:
        """The names that its networks have on a host (the first): those whose bridge has an address of its range."""
        gateway = self.settings["NACELLE_PRIVATE_CIDR"].replace(".0/20", ".1")
        with contextlib.closing(libvirt.open(uri or self.uris[0])) as connection:
            found = []
            for one in connection.listAllNetworks():
                with suppress(libvirt.libvirtError):  # somebody else's network may go while we look
                    if f"'{gateway}'" in one.XMLDesc():
                        found.append(one.name())
            return found


def title(process: psutil.Process) -> str:
    """What `ps` shows of a process."""
    return " ".join(process.cmdline()).strip()


def clear(connection: Any, pool: str, networks: list[str]) -> None:
    """Remove all guests whose disks lie in a pool, the pool with all in it, and networks."""
    for domain in guests_in(connection, pool):
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(UNDEFINE_WHOLE)
    for name in (pool, f"{pool}-console"):
        with contextlib.suppress(libvirt.libvirtError):
            _remove_pool(connection.storagePoolLookupByName(name))
    for name in networks:
        network = connection.networkLookupByName(name)
        if network.isActive():
            network.destroy()
        network.undefine()


def guests_in(connection: Any, pool: str) -> Iterator[Any]:
    """Nacelle's guests whose disks lie in this pool."""
    for domain in connection.listAllDomains():
        with contextlib.suppress(libvirt.libvirtError):
            description = domain.XMLDesc()
            if NAMESPACE in description and f"{IMAGES / pool}/" in description:
                yield domain


def _remove_pool(pool: Any) -> None:
    if pool.isActive():
        pool.refresh()
        for volume in pool.listAllVolumes():
            volume.delete()
        pool.destroy()
    pool.delete()
    pool.undefine()
