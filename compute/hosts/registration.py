"""Registering hosts: a name and a libvirt URI is all that it takes."""

from __future__ import annotations

import dataclasses
import logging
import socket
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts.connections import hypervisor_of
from compute.hosts.history import note
from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import HostFacts, HypervisorError
from compute.models import Host, HostState, announce
from portal.identity.actor import Actor
from portal.identity.policy import enforce

log = logging.getLogger(__name__)


def add_host(actor: Actor, *, uri: str, name: str = "", domain_type: str = "") -> Host:
    """Register the host at a libvirt URI, prepare it, and read what it is.

    It is in the default zone until it is put into an aggregate with one. ``name`` defaults to the host's own.
    ``domain_type`` is ``kvm`` or ``qemu``; empty: found out.
    Raises Invalid for a URI that cannot be used (with the reason), Conflict for one already there.
    """
    enforce(actor, "nacelle:host-add")
    uri = uri.strip()
    if Host.objects.filter(uri=uri).exists():
        raise Conflict(f"A host with the URI {uri} is registered already.")
    if domain_type not in ("", "kvm", "qemu"):
        raise Invalid(f"The domain type is kvm or qemu, not {domain_type}.")
    try:
        hypervisor = open_hypervisor(uri, pool=settings.STORAGE_POOL, pool_path=settings.STORAGE_POOL_PATH)
    except ValueError as error:
        raise Invalid(str(error)) from error
    try:
        hypervisor.prepare()
        facts = hypervisor.facts()
    except HypervisorError as error:
        raise Invalid(f"The host at {uri} cannot be used: {error}") from error
    finally:
        hypervisor.close()
    host = Host(uri=uri, name=name.strip() or facts.hostname, domain_type=domain_type)
    host.console_address = console_address(uri)
    try:
        with transaction.atomic():
            host.save(force_insert=True)
            refresh(host)
    except IntegrityError as error:
        raise Conflict(f"A host named {host.name} is registered already.") from error
    except HypervisorError as error:
        raise Invalid(f"The host at {uri} cannot be prepared: {error}") from error
    log.info("registered host %s at %s", host.name, host.uri)
    return host


def console_address(uri: str) -> str:
    """The address on which guests' screens listen: loopback for the machine itself, else the host's."""
    hostname = urlsplit(uri).hostname
    if not hostname or urlsplit(uri).scheme in ("fake", "test"):
        return "127.0.0.1"
    try:
        return socket.gethostbyname(hostname)
    except OSError:
        return hostname


def refresh(host: Host) -> None:
    """Prepare the host, read its facts, and mark it as up. Raises HypervisorError."""
    learn(host)
    mark_up(host)


def learn(host: Host) -> None:
    """Prepare the host and read its facts. Raises HypervisorError."""
    hypervisor = hypervisor_of(host)
    hypervisor.prepare()
    facts = hypervisor.facts()
    Host.objects.filter(pk=host.pk).update(
        facts=as_json(facts),
        vcpus=facts.vcpus,
        memory_mb=facts.memory_mb,
        disk_gb=facts.disk_gb,
        updated_at=timezone.now(),
    )


def mark_up(host: Host) -> None:
    """The host answers: whoever had confirmed that it is off, it is on again."""
    now = timezone.now()
    with transaction.atomic():
        was = Host.objects.select_for_update().get(pk=host.pk)
        Host.objects.filter(pk=host.pk).update(
            state=HostState.UP, state_reason="", down_since=None, fenced_at=None, last_seen_at=now, updated_at=now
        )
        if was.state == HostState.DOWN:
            note(host.pk, "state", "It answers again." + (" It is fenced no more." if was.fenced_at else ""))
        announce("host", host.pk)
    host.refresh_from_db()


def as_json(facts: HostFacts) -> dict[str, object]:
    """Facts as they are stored."""
    plain = dataclasses.asdict(facts)
    plain["capabilities"] = sorted(facts.capabilities)
    plain["cpu_features"] = list(facts.cpu_features)
    return plain


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
