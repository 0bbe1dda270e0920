"""The way that a guest's memory and disks take from one host to another: QEMU speaks to QEMU.

The two are asked by Nacelle and need not trust each other, but what they send is all that a guest holds. So it
is encrypted, with the certificates that hosts have whose URI is ``qemu+tls``, or it goes between addresses
that are declared trusted, or it does not go at all.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from compute.hypervisor.ways import LOOPBACK, PRETENDED, Address, Networks, Refused, resolve, trusted_networks
from compute.models import Host

CERTIFIED = "qemu+tls"


class NoWay(Exception):
    """A guest cannot cross between two hosts; the text says why and what to do, for administrators."""


@dataclass(frozen=True)
class Way:
    """Where the target is reached, and whether what goes there is encrypted."""

    address: str
    encrypted: bool


def way_between(source: Host, target: Host, *, look_up: bool = True) -> Way:
    """How a guest crosses from one host to another. Raises NoWay.

    Without ``look_up`` no name server is asked, for whoever cannot wait for one; hosts that are known by
    names are then taken to be trusted, and refused later if they are not.
    """
    if _pretends(source) != _pretends(target):
        raise NoWay(f"{target.name} is a host of another kind.")
    if _pretends(source):
        return Way(target.name, encrypted=False)
    address = migration_address(target)
    if _has_certificates(source) and _has_certificates(target):
        return Way(address, encrypted=True)
    trusted = trusted_networks(settings.TRUSTED_HOSTS)
    for host in (source, target):
        if look_up or is_address(migration_address(host)):
            _check_trusted(host, trusted)
    return Way(str(_resolved(target)) if look_up else address, encrypted=False)


def migration_address(host: Host) -> str:
    """Where other hosts reach it: as its row says, or else by its URI, or where its consoles listen. Raises NoWay."""
    found = host.migration_address or urlsplit(host.uri).hostname or host.console_address
    if found == "localhost" or (is_address(found) and _is_in(ipaddress.ip_address(found), LOOPBACK)):
        raise NoWay(
            f"No other host reaches {host.name} at {found}. Give it the address of its own that others reach "
            "(migration address)."
        )
    return found


def _check_trusted(host: Host, trusted: Networks) -> None:
    address = _resolved(host)
    if not _is_in(address, trusted):
        raise NoWay(
            f"What a guest holds would cross from or to {host.name} ({address}) unencrypted, and that address is not "
            "trusted. Reach both hosts by qemu+tls://, or, where nobody else can listen, name it in "
            "NACELLE_TRUSTED_HOSTS."
        )


def _resolved(host: Host) -> Address:
    try:
        return resolve(migration_address(host))
    except Refused as error:
        raise NoWay(str(error)) from error


def _is_in(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def is_address(text: str) -> bool:
    """Whether it is an address, not a name."""
    with suppress(ValueError):
        return bool(ipaddress.ip_address(text))
    return False


def _has_certificates(host: Host) -> bool:
    return urlsplit(host.uri).scheme == CERTIFIED


def _pretends(host: Host) -> bool:
    return urlsplit(host.uri).scheme in PRETENDED
