"""Registering hosts: a libvirt URI is all that it takes."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts import checks, known
from compute.hosts.asking import ask
from compute.hosts.connections import hypervisor_of
from compute.hosts.history import note
from compute.hosts.storage import identify
from compute.hypervisor import ways
from compute.hypervisor.interface import Busy, HostFacts, Hypervisor, HypervisorError
from compute.models import Host, HostState, announce
from portal.identity.actor import Actor
from portal.identity.policy import enforce

log = logging.getLogger(__name__)

URI_CAP = 255
# What clients may write where a host is meant; a colon would part it from a zone.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}", re.IGNORECASE | re.ASCII)


def add_host(actor: Actor, *, uri: str, name: str = "", domain_type: str = "") -> Host:
    """Register the host at a libvirt URI, prepare it, and read what it is.

    It is in the default zone until it is put into an aggregate with one. ``name`` defaults to the host's own.
    ``domain_type`` is ``kvm`` or ``qemu``; empty: found out. A host with something to be put right first takes no
    instances until it is enabled.
    Raises Invalid for what cannot be used (with the reason), Conflict for a host that is there already.
    """
    enforce(actor, "nacelle:host-add")
    uri = settled(uri.strip())
    if same := Host.objects.filter(uri=uri).first():
        raise Conflict(f"A host with the URI {uri} is registered already: {same.name}.")
    check_domain_type(domain_type)
    if name.strip():
        check_name(name.strip())
    host = Host(uri=uri, domain_type=domain_type, console_address=console_address(uri))
    with explained(uri):
        found = checks.look(host)
    host.name = name.strip() or found.facts.hostname
    check_name(host.name)
    host.machine_uuid = known.machine_of(found.facts)
    host.state, host.last_seen_at = HostState.UP, timezone.now()
    findings = checks.judged(host, found)
    for field, value in known.as_fields(found.facts).items():
        setattr(host, field, value)
    if why := checks.first_error(findings):
        host.enabled, host.disabled_reason = False, why
    with transaction.atomic():
        save_as_one(actor, host)
        checks.keep(host, found, findings)
    log.info("registered host %s at %s", host.name, host.uri)
    return host


def save_as_one(actor: Actor, host: Host) -> None:
    """Write a new row. Raises Conflict where the same name or machine is registered."""
    check_alone(host)
    try:
        with transaction.atomic():
            host.save(force_insert=True)
            note(host.pk, "state", f"It was added, at {host.uri}.", actor)
            announce("host", host.pk)
    except IntegrityError as error:
        check_alone(host)  # somebody was faster, and this says who
        raise Conflict(f"The host {host.name} is registered already.") from error


def check_alone(host: Host) -> None:
    """Raises Conflict when another row has the host's name, URI or machine."""
    others = Host.objects.exclude(pk=host.pk)
    if others.filter(name=host.name).exists():
        raise Conflict(f"A host named {host.name} is registered already; give this one another name.")
    if same := others.filter(uri=host.uri).first():
        raise Conflict(f"A host with the URI {host.uri} is registered already: {same.name}.")
    if host.machine_uuid and (same := others.filter(machine_uuid=host.machine_uuid).first()):
        raise Conflict(
            f"This is the machine that is registered as {same.name}, at {same.uri}: both have the id "
            f"{host.machine_uuid}. If they are two, cloned from one, give each its own host_uuid in "
            "/etc/libvirt/libvirtd.conf and restart libvirtd."
        )


def settled(uri: str) -> str:
    """The URI as it is kept. Raises Invalid for one that is not taken, with what to do instead."""
    try:
        found = ways.settled(uri, ways.trusted_networks(settings.TRUSTED_HOSTS))
    except ways.Refused as error:
        raise Invalid(str(error), about="uri") from error
    if len(found) > URI_CAP:
        raise Invalid(f"A URI has at most {URI_CAP} characters.", about="uri")
    return found


def check_name(name: str) -> None:
    """Raises Invalid for a text that is no name of a host."""
    if not NAME.fullmatch(name):
        raise Invalid(
            f"{name[:64]!r} is no name for a host: letters, digits, dots, hyphens and underscores, and no more "
            "than 255 of them. Give it one.",
            about="name",
        )


def check_domain_type(domain_type: str) -> None:
    """Raises Invalid for another than kvm, qemu and "" (found out)."""
    if domain_type not in ("", "kvm", "qemu"):
        raise Invalid(f"The domain type is kvm or qemu, not {domain_type[:32]}.", about="domain_type")


def look(uri: str) -> HostFacts:
    """Prepare the host at a URI and read what it is. Raises Invalid when it cannot be used."""

    def question(hypervisor: Hypervisor) -> HostFacts:
        hypervisor.prepare()
        return hypervisor.facts()

    with explained(uri):
        return ask(uri, question)


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """What the host at a URI says against being used is Invalid, and says so."""
    try:
        yield
    except HypervisorError as error:
        raise Invalid(f"The host at {uri} cannot be used: {error}", about="uri") from error


def console_address(uri: str) -> str:
    """The address on which guests' screens listen: loopback for the machine itself, else the host's."""
    hostname = urlsplit(uri).hostname
    if not hostname or urlsplit(uri).scheme in ("fake", "test"):
        return "127.0.0.1"
    try:
        return socket.gethostbyname(hostname)
    except OSError:
        return hostname


def learn(host: Host) -> None:
    """Prepare the host and read its facts. Raises HypervisorError.

    Another machine than the one that was registered is not taken for it: Failed.
    """
    hypervisor = hypervisor_of(host)
    hypervisor.prepare()
    facts = hypervisor.facts()
    machine = known.check_same(host, facts)
    Host.objects.filter(pk=host.pk).update(machine_uuid=machine, updated_at=timezone.now(), **known.as_fields(facts))
    host.refresh_from_db()
    with suppress(Busy):  # the next look at its volumes will tell
        identify(host, hypervisor)


def mark_up(host: Host, ready: Callable[[], bool] = lambda: True) -> bool:
    """The host answers: whoever had confirmed that it is off, it is on again.

    ``ready`` is asked in the transaction, in which nothing more is evacuated from it; if it says no, nothing changes.
    """
    now = timezone.now()
    with transaction.atomic():
        was = Host.objects.select_for_update().get(pk=host.pk)
        if not ready():
            return False
        Host.objects.filter(pk=host.pk).update(
            state=HostState.UP,
            state_reason="",
            silent_since=None,
            down_since=None,
            fenced_at=None,
            last_seen_at=now,
            updated_at=now,
        )
        if was.state == HostState.DOWN:
            note(host.pk, "state", "It answers again." + (" It is fenced no more." if was.fenced_at else ""))
        announce("host", host.pk)
    host.refresh_from_db()
    return True


def mark_down(host_id: int, reason: str) -> None:
    """The host does not answer; nothing is sent there until it does."""
    now = timezone.now()
    with transaction.atomic():
        if (
            Host.objects.filter(pk=host_id)
            .exclude(state=HostState.DOWN)
            .update(state=HostState.DOWN, state_reason=reason[:500], down_since=now, updated_at=now)
        ):
            note(host_id, "state", f"It does not answer: {reason[:500]}")
            announce("host", host_id)
            log.warning("host %s is down: %s", host_id, reason)
