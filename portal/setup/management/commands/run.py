"""`manage.py run`: the whole of Nacelle in the foreground."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from whitenoise.storage import MissingFileError

from compute.hypervisor.interface import HypervisorError
from compute.hypervisor.libvirt import daemons
from compute.images.tiny.errors import BuildError
from compute.models import Host, Instance
from portal.setup import bootstrap
from portal.setup.forks import close_connections
from portal.setup.programs import PROGRAMS, preload
from portal.setup.supervisor import Supervisor

WEB_WAIT_SECONDS = 60


class Command(BaseCommand):
    """Sets up what is missing, starts every process, and stops them on Ctrl-C."""

    help = "Start Nacelle: database, libvirt, web, workers, watcher and console proxy, in the foreground."

    def handle(self, *args: Any, **options: Any) -> None:
        """Until Ctrl-C."""
        with _only_one():
            self._check_ports()
            self._libvirt()
            self._data()
            preload()
            close_connections()
            Supervisor(PROGRAMS).run(self._ready)
            self._stop_libvirt()

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _check_ports(self) -> None:
        for bind, variable in ((settings.BIND, "NACELLE_BIND"), (settings.CONSOLE_BIND, "NACELLE_CONSOLE_BIND")):
            try:
                with _listen(bind):
                    pass
            except (ValueError, OverflowError) as error:
                raise CommandError(
                    f"{variable} is an address and a port, such as 127.0.0.1:8000, not {bind!r}."
                ) from error
            except OSError as error:
                # Python appends what it tried to the system's own words, but for names.
                why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
                raise CommandError(f"Cannot listen on {bind}: {why}. Set {variable} to another.") from error

    def _libvirt(self) -> None:
        if Host.objects.exclude(uri__startswith="qemu:///").exists() if _has_tables() else False:
            return
        try:
            self.started = daemons.ensure_running(settings.DATA_DIR / "libvirt")
        except HypervisorError as error:
            raise CommandError(str(error)) from error
        if self.started:
            self._say("Started libvirtd and virtlogd, which nothing else runs here.")

    def _data(self) -> None:
        try:
            bootstrap.migrate()
            bootstrap.base_data(self._say)
            bootstrap.tiny_images(self._say)
        except BuildError as error:
            raise CommandError(str(error)) from error
        if not (Path(settings.STATIC_ROOT) / "staticfiles.json").exists() or _static_is_older():
            self._static_files()

    def _static_files(self) -> None:
        """Gather them. What pages name and is not there is what npm brings."""
        try:
            call_command("collectstatic", verbosity=0, interactive=False, stderr=io.StringIO())
        except MissingFileError as error:
            raise CommandError("The front-end packages are missing. Run scripts/setup.sh, or `make run`.") from error

    def _ready(self) -> None:
        """In a child of its own, once the processes are started: the host, the first instance, the address."""
        _wait_for_web()
        bootstrap.local_host(self._say)
        bootstrap.first_instance(self._say)
        hello = Instance.objects.alive().filter(name="hello").first()
        password = bootstrap.admin_password() or "(as you changed it)"
        lines = [
            "",
            f"  Nacelle is at   {settings.PUBLIC_URL}",
            "  login           admin",
            f"  password        {password}",
            f"  openstack       export OS_CLIENT_CONFIG_FILE={settings.DATA_DIR / 'clouds.yaml'} OS_CLOUD=nacelle",
        ]
        if hello is not None:
            lines.append(f"  console         {settings.PUBLIC_URL}/instances/{hello.id}/console")
        self._say("\n".join([*lines, "  Ctrl-C stops Nacelle; the guests go on running.", ""]))

    def _stop_libvirt(self) -> None:
        if getattr(self, "started", None):
            for sentence in daemons.stop(settings.DATA_DIR / "libvirt"):
                self._say(sentence)
        self._say("Nacelle has stopped; the guests go on running.")


def _listen(bind: str) -> socket.socket:
    """Listen on ``address:port``. Raises ValueError and OverflowError for what is no such thing, and OSError."""
    host, _, port = bind.rpartition(":")
    if not host:
        raise ValueError("no address")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family)


def _has_tables() -> bool:
    from django.db import connection

    return Host._meta.db_table in connection.introspection.table_names()


def _static_is_older() -> bool:
    manifest = Path(settings.STATIC_ROOT) / "staticfiles.json"
    newest = max((path.stat().st_mtime for path in (settings.BASE_DIR / "static").rglob("*")), default=0.0)
    return newest > manifest.stat().st_mtime


def _wait_for_web() -> None:
    deadline = time.monotonic() + WEB_WAIT_SECONDS
    url = f"http://{settings.BIND}/healthz"
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    sys.stderr.write(f"The web process does not answer at {url}; its log above says why.\n")


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """One Nacelle for each data folder."""
    path = Path(settings.DATA_DIR) / "run.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CommandError(f"Nacelle already runs with the data folder {settings.DATA_DIR}.") from error
        yield
