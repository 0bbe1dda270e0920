"""The watch of one host: a thread and a connection; events, samples, state sync, leftovers."""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection

from compute.hosts.connections import forget, hypervisor_of
from compute.hosts.registration import learn, mark_down, mark_up
from compute.hosts.sampling import Sampler
from compute.hosts.storage import identify
from compute.hypervisor.interface import (
    Busy,
    GuestEvent,
    Hypervisor,
    HypervisorError,
    PowerState,
    Unreachable,
)
from compute.models import Host
from compute.networks.removals import remove_due
from compute.operations import leftovers, returned
from compute.operations.observe import Look, observe, observe_all
from portal.requestid import new_request_id, working_on

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 2.0
SETTLE_SECONDS = 0.2  # a stop that a start follows at once (a reboot) is no news
SYNCS_PER_LOOK = 5  # at all that a host has: guests are looked at by each
PING_SECONDS = 3.0


class HostWatch(threading.Thread):
    """Watches one host until told to stop."""

    def __init__(self, host: Host) -> None:
        super().__init__(name=f"watch-{host.name}", daemon=True)
        self.host = host
        self.stopping = threading.Event()
        self.answered_at = time.monotonic()
        self.following_at = 0.0  # since when it is connected; 0: it is not, and the host is down already, or new
        self.begin_anew = threading.Event()
        self._events: queue.SimpleQueue[UUID | None] = queue.SimpleQueue()
        self._lost = ""
        self._sampler = Sampler(host)
        self._syncs = 0
        self._probe: threading.Thread | None = None

    @property
    def silence(self) -> float:
        """Seconds since the host answered last."""
        return time.monotonic() - self.answered_at

    def run(self) -> None:
        """Connect, follow, and connect again when the host was lost."""
        while not self.stopping.is_set():
            try:
                with working_on(new_request_id(), "watcher"):
                    self._follow()
            except HypervisorError as error:
                self._down(str(error))
            except (OperationalError, InterfaceError):
                log.exception("watching host %s: the database does not answer", self.host.name)
            except (IntegrityError, Host.DoesNotExist):
                log.info("host %s was removed", self.host.name)
                self.stopping.set()
            except Exception as error:
                log.exception("watching host %s", self.host.name)
                self._down(f"The watcher failed: {type(error).__name__}")
            finally:
                self.following_at = 0.0
                connection.close()
            self.stopping.wait(0 if self.begin_anew.is_set() else RECONNECT_SECONDS)

    def _down(self, reason: str) -> None:
        self.following_at = 0.0
        mark_down(self.host.pk, reason)

    def _follow(self) -> None:
        self._lost, self._sampler = "", Sampler(self.host)
        self.begin_anew.clear()
        hypervisor = self._heard(hypervisor_of(self.host))
        self._come_back(hypervisor)
        hypervisor.watch(self._on_event, self._on_lost)
        self.following_at = time.monotonic()
        log.info("host %s is up", self.host.name)
        self._sync(hypervisor, at_start=True)
        next_sync = time.monotonic() + settings.STATE_SYNC_SECONDS
        while not self.stopping.is_set():
            if self._lost:
                self._down(self._lost)
                return
            if self.begin_anew.is_set():
                # It was given up meanwhile, and may have been fenced: it comes back as any other does.
                self._down("It was given up, and answers again.")
                hypervisor.close()
                forget(self.host)
                return
            self._sampler.take(hypervisor)
            remove_due(self.host, hypervisor)
            if time.monotonic() >= next_sync:
                self._sync(hypervisor)
                self._sampler.look_again()
                next_sync = time.monotonic() + settings.STATE_SYNC_SECONDS
            connection.close()  # there may be more hosts than the pool has connections
            self._wait_for_events(hypervisor)

    def _come_back(self, hypervisor: Hypervisor) -> None:
        """It counts as up once nothing that was evacuated from it can run there any more."""
        learn(self.host)
        self._answered()
        gone = returned.cut_off(self.host, hypervisor)
        returned.clear(self.host, hypervisor)

        def nothing_more() -> bool:
            return not set(returned.left_behind(self.host).values_list("pk", flat=True)) - gone

        while not mark_up(self.host, nothing_more):
            gone |= returned.cut_off(self.host, hypervisor)

    def _on_event(self, event: GuestEvent) -> None:
        log.info("host %s: guest %s %s %s", self.host.name, event.uuid, event.kind, event.detail)
        self._events.put(event.uuid)

    def _on_lost(self, reason: str) -> None:
        self._lost = reason or "the connection was lost"
        self._events.put(None)

    def _wait_for_events(self, hypervisor: Hypervisor) -> None:
        """Handle events until it is time for the next sample, and listen now and then whether the host answers."""
        until = time.monotonic() + settings.HOST_SAMPLE_SECONDS
        while not self._is_over() and (left := until - time.monotonic()) > 0:
            if self.silence >= PING_SECONDS:
                hypervisor.ping()
            try:
                first = self._events.get(timeout=min(left, 1.0))
            except queue.Empty:
                continue
            if first is None:
                return
            self.stopping.wait(SETTLE_SECONDS)
            for uuid in {first, *self._waiting()}:
                observe(self.host, uuid, looking_at(hypervisor))
            connection.close()

    def _is_over(self) -> bool:
        return self.stopping.is_set() or self.begin_anew.is_set() or bool(self._lost)

    def _waiting(self) -> set[UUID]:
        waiting: set[UUID] = set()
        while not self._events.empty():
            if (uuid := self._events.get_nowait()) is not None:
                waiting.add(uuid)
        return waiting

    # whether the host answers ---------------------------------------------------------------------
    def _heard(self, hypervisor: Hypervisor) -> Hypervisor:
        return cast(Hypervisor, Heard(hypervisor, self._answered))

    def _answered(self) -> None:
        self.answered_at = time.monotonic()

    def probe(self) -> None:
        """Ask, from another thread, whether the host answers while a call of this one takes long."""
        if self.silence < PING_SECONDS + 1 or (self._probe is not None and self._probe.is_alive()):
            return
        self._probe = threading.Thread(target=self._ask, name=f"probe-{self.host.name}", daemon=True)
        self._probe.start()

    def _ask(self) -> None:
        try:
            self._heard(hypervisor_of(self.host)).ping()
        except HypervisorError as error:
            log.info("host %s: %s", self.host.name, error)

    # what is looked at ----------------------------------------------------------------------------
    def _sync(self, hypervisor: Hypervisor, at_start: bool = False) -> None:
        returned.clear(self.host, hypervisor)
        guests = hypervisor.guests()
        seen = {uuid: guest.power_state for uuid, guest in guests.items()}
        changed = observe_all(self.host, seen, looking_at(hypervisor), at_start=at_start)
        if changed:
            log.info("host %s: %d instances were not as their rows said", self.host.name, changed)
        ours = {uuid for uuid, guest in guests.items() if guest.managed}
        self._syncs = -1 if at_start else self._syncs + 1  # what is not settled at the start may be so at the next
        if at_start or self._syncs % SYNCS_PER_LOOK == 0:
            with suppress(Busy):
                identify(self.host, hypervisor)
            leftovers.remove_all(self.host, hypervisor, ours)
        else:
            leftovers.remove(self.host, hypervisor, ours)


class Heard:
    """A driver whose answers are heard, whatever they say.

    Before each call the thread's connection to the database goes back to the pool: hosts that hang would
    else keep the connections that the others' watches need.
    """

    def __init__(self, hypervisor: Hypervisor, answered: Callable[[], None]) -> None:
        self._hypervisor, self._answered = hypervisor, answered

    def __getattr__(self, verb: str) -> Any:
        return functools.partial(self._call, getattr(self._hypervisor, verb))

    def _call(self, verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if connection.vendor != "sqlite" and not connection.in_atomic_block:
            connection.close()  # SQLite has no pool that could run dry, and writes its log out with the last one
        try:
            found = verb(*args, **kwargs)
        except Unreachable:
            raise
        except HypervisorError:
            self._answered()
            raise
        self._answered()
        return found


def looking_at(hypervisor: Hypervisor) -> Look:
    """How to ask a host about one guest."""

    def look(uuid: UUID) -> PowerState | None:
        guest = hypervisor.guest(uuid)
        return guest.power_state if guest else None

    return look
