"""Working off the fencings that were asked for: the watcher runs the method's programs, and writes what came of it.

A fencing is taken by one conditional UPDATE and held by a lease. When its process dies, another runs the programs
again: to switch off what is off changes nothing. A host is fenced only when that is confirmed.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Expression, F, Q, QuerySet
from django.utils import timezone

from compute.errors import ComputeError
from compute.hosts.fence_methods import Prepared, method_named, prepared
from compute.hosts.history import note
from compute.models import Fencing, FencingState, Host, HostState, announce
from compute.models.fencing import OPEN_FENCINGS
from portal.compiled import Rows, moment
from portal.requestid import working_on

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
READ_BYTES = 64 << 10  # so that what is cut off cannot be half a secret
OUTPUT_CAP = 1000
LOOK_SECONDS = 0.1
STATUS_SECONDS = 2.0  # between two questions whether it is off
# What programs get of this process's surroundings, besides their secrets.
SURROUNDINGS = ("PATH", "HOME", "TZ")
HIDDEN = "•••"


class NotFenced(Exception):
    """The host was not confirmed to be off; the sentence says why."""


class Lost(Exception):
    """Another process is at this fencing."""


def sweep() -> int:
    """Begin what nobody is at, each in a thread of its own. Returns how many."""
    begun = 0
    for key in _WAITING.all(now=timezone.now()):
        if owner := take(key):
            threading.Thread(target=_in_thread, args=(key, owner), name=f"fence-{key}", daemon=True).start()
            begun += 1
    return begun


def _free(now: datetime | Expression) -> Q:
    return Q(lease_owner="") | Q(lease_until__lt=now)


_WAITING = Rows(
    lambda: Fencing.objects.filter(_free(moment("now")), state__in=OPEN_FENCINGS).values_list("pk", flat=True)
)


def take(fencing_id: int) -> str:
    """Take a fencing that nobody is at: the owner's name, or "" when somebody else has it."""
    owner = f"{os.getpid()}/{uuid.uuid4().hex[:12]}"
    taken = Fencing.objects.filter(_free(timezone.now()), pk=fencing_id, state__in=OPEN_FENCINGS).update(
        state=FencingState.RUNNING, lease_owner=owner, lease_until=_lease_end(), attempts=F("attempts") + 1
    )
    return owner if taken else ""


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)


def _in_thread(fencing_id: int, owner: str) -> None:
    try:
        run(fencing_id, owner)
    except Lost:
        log.info("fencing %s: another process is at it", fencing_id)
    except Exception:  # the lease runs out, and it is tried again
        log.exception("fencing %s", fencing_id)
    finally:
        connection.close()


def run(fencing_id: int, owner: str) -> None:
    """See a fencing that was taken to its end. Raises Lost."""
    fencing = Fencing.objects.select_related("host").get(pk=fencing_id)
    with working_on(fencing.request_id, fencing.user_name or "watcher"):
        runner = _Runner(fencing, owner)
        try:
            if fencing.attempts > MOST_ATTEMPTS:
                raise NotFenced("Whoever ran the fence died each time; it is given up.")
            runner.switch_off(prepared(method_named(fencing.method), fencing.host))
        except (NotFenced, ComputeError) as error:
            _end(runner, FencingState.FAILED, str(error))
        else:
            _end(runner, FencingState.DONE, f"Switched off by {fencing.method}.")


@dataclass
class _Runner:
    """Runs programs one after the other, within the host's time, while the lease is held."""

    fencing: Fencing
    owner: str
    output: str = ""
    _secrets: Iterable[str] = ()
    _until: float = field(init=False)
    _renewed: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.fencing.host.fence_timeout

    def switch_off(self, what: Prepared) -> None:
        """Until it is off for sure. Raises NotFenced and Lost."""
        self._secrets = [value for value in what.environment.values() if value]
        code, printed = self._run(what.off, what.environment)
        self.output = printed
        if code:
            raise NotFenced(f"The fence method's program ended with code {code}.")
        while what.status:
            code, said = self._run(what.status, what.environment)
            self.output = f"{printed}\n{said}".strip()
            if code == 0 and what.off_says in said:
                return
            self._wait(STATUS_SECONDS)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._look()
            time.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        """Raise NotFenced when the time is over, and Lost; the lease goes on otherwise."""
        if time.monotonic() > self._until:
            raise NotFenced(f"It was not confirmed to be off within {self.fencing.host.fence_timeout} s.")
        if time.monotonic() - self._renewed > settings.LEASE_SECONDS / 3:
            if not self.mine().update(lease_until=_lease_end()):
                raise Lost
            self._renewed = time.monotonic()

    def mine(self) -> QuerySet[Fencing]:
        """Its row, while it is held."""
        return Fencing.objects.filter(pk=self.fencing.pk, lease_owner=self.owner, state=FencingState.RUNNING)

    def _run(self, command: list[str], secrets: dict[str, str]) -> tuple[int, str]:
        """Run a program to its end. Returns its code and the end of what it printed. Raises NotFenced and Lost."""
        with tempfile.TemporaryFile() as printed:
            process = _started(command, secrets, printed)
            try:
                while process.poll() is None:
                    self._look()
                    time.sleep(LOOK_SECONDS)
            except NotFenced:
                _kill(process)
                self.output = f"{self.output}\n{self._end_of(printed)}".strip()
                raise
            finally:
                _kill(process)
            return process.returncode, self._end_of(printed)

    def _end_of(self, printed: IO[bytes]) -> str:
        size = printed.seek(0, os.SEEK_END)
        printed.seek(max(0, size - READ_BYTES))
        text = printed.read().decode(errors="replace").replace("\x00", "")
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text.strip()[-OUTPUT_CAP:]


def _started(command: list[str], secrets: dict[str, str], printed: IO[bytes]) -> subprocess.Popen[bytes]:
    surroundings = {name: os.environ[name] for name in SURROUNDINGS if name in os.environ}
    try:
        return subprocess.Popen(  # noqa: S603  (a list of arguments from this machine's own file; no shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=surroundings | secrets,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise NotFenced(f"The fence method's program does not start: {type(error).__name__}.") from error


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end(runner: _Runner, state: FencingState, result: str) -> None:
    """Write what came of it, once, together with the host's row. Raises Lost."""
    fencing, now = runner.fencing, timezone.now()
    with transaction.atomic():
        host = Host.objects.select_for_update().get(pk=fencing.host_id)
        if state == FencingState.DONE and host.state == HostState.UP and not host.forced_down:
            state, result = FencingState.FAILED, "The host answers: it was not off, or is on again."
        ended = runner.mine().update(
            state=state, result=result, output=runner.output, finished_at=now, lease_owner="", lease_until=None
        )
        if not ended:
            raise Lost
        if state == FencingState.DONE:
            Host.objects.filter(pk=host.pk).update(fenced_at=now, updated_at=now)
        note(host.pk, "fence", result if state == FencingState.DONE else f"It could not be fenced. {result}")
        announce("host", host.pk)
    log.warning("host %s: fencing by %s: %s: %s", host.name, fencing.method, state, result)
