"""The ways to a host: which libvirt URIs are taken, and whose word is trusted without a key.

``qemu:///system`` is this machine. ``qemu+ssh`` and ``qemu+tls`` prove who is at the other end and encrypt.
``qemu+tcp`` does neither, so it is taken to trusted addresses alone. Everything else is refused, with what to
do instead. Of a URI's parameters only those are taken that could do no harm: libvirt has some that name a
program to run here, or that switch the proof off.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]

LOOPBACK: Networks = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
PORTS = {"qemu+ssh": 22, "qemu+tcp": 16509, "qemu+tls": 16514}
LOCAL = ("qemu", "qemu+unix")
# Nobody's machine: libvirt's own test driver, and ours.
PRETENDED = ("test", "fake")
# The parameters that a URI may have (https://libvirt.org/uri.html); known_hosts is Nacelle's own for ssh.
PARAMETERS: dict[str, frozenset[str]] = {
    "qemu": frozenset(),
    "qemu+unix": frozenset({"socket", "mode"}),
    "qemu+ssh": frozenset({"keyfile", "known_hosts", "socket", "netcat", "proxy", "mode", "no_tty"}),
    "qemu+tls": frozenset({"pkipath", "tls_priority"}),
    "qemu+tcp": frozenset(),
}
# libvirt puts these into a command line that a shell on the host reads, and only one of them within quotes.
READ_BY_A_SHELL = frozenset({"socket", "netcat"})
PLAIN_PATH = re.compile(r"[a-z0-9_/.][a-z0-9_/.+-]*", re.IGNORECASE | re.ASCII)
# Of labels as name servers know them: others cannot even be asked about.
HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9][a-z0-9_-]{0,62}(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?", re.IGNORECASE | re.ASCII
)
USER = re.compile(r"[a-z0-9_][a-z0-9_.$-]{0,63}", re.IGNORECASE | re.ASCII)

KINDS = (
    "Write qemu:///system for this machine, qemu+ssh://user@host/system or qemu+tls://host/system for another, "
    "or qemu+tcp://address/system for one that NACELLE_TRUSTED_HOSTS names."
)


class Refused(ValueError):
    """The URI is not taken; the text says why and what to do."""


@dataclass(frozen=True)
class Ways:
    """What a driver needs to reach a host, besides the URI.

    ``pki``: makes sure of the client's certificate and names its folder (``cacert.pem``, ``clientcert.pem``,
    ``clientkey.pem``). ``ssh_folder``: where the scripts lie that ssh is called by; empty: a folder of the user's.
    """

    pki: Callable[[], str] | None = None
    ssh_folder: str = ""


def check(uri: str) -> None:
    """Raises Refused for a URI that is not taken, as far as it can be told without asking anybody."""
    if scheme_of(uri) not in PRETENDED:
        _check_form(split(uri))
        _check_parameters(split(uri))


def settled(uri: str, trusted: Networks = LOOPBACK) -> str:
    """The URI as it is kept: that of an unencrypted way has an address, so that its name is looked up once.

    ``trusted``: where a host may be reached so. Raises Refused.
    """
    check(uri)
    parts = split(uri)
    if parts.scheme != "qemu+tcp":
        return uri
    address = resolve(parts.hostname or "")
    if not any(address in network for network in trusted if network.version == address.version):
        raise Refused(
            f"{address} is not trusted, and qemu+tcp:// neither encrypts nor proves who is there. "
            "Use qemu+tls:// or qemu+ssh://; or, where nobody else can reach that network, name it in "
            "NACELLE_TRUSTED_HOSTS."
        )
    host = f"[{address}]" if address.version == 6 else str(address)
    return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))


def trusted_networks(texts: Iterable[str]) -> Networks:
    """Addresses and networks as they are written in the setting; loopback is always among them. Raises ValueError."""
    return (*LOOPBACK, *(ipaddress.ip_network(text.strip(), strict=False) for text in texts if text.strip()))


def split(uri: str) -> SplitResult:
    """The parts of a URI. Raises Refused for what is none."""
    if not uri.isprintable():  # urlsplit would overlook line breaks, and others would not
        raise Refused("That is no URI: it holds what cannot be printed.")
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018  (it is looked at only when it is asked for)
    except ValueError as error:
        raise Refused(f"That is no URI: {error}.") from error
    return parts


def scheme_of(uri: str) -> str:
    """How the URI begins. Raises Refused for what no driver knows."""
    scheme = split(uri).scheme
    if scheme not in (*PARAMETERS, *PRETENDED):
        raise Refused(f"No driver for {scheme[:32] or 'a URI without a scheme'}. {KINDS}")
    return scheme


def resolve(name: str) -> Address:
    """The address that a name has now. Raises Refused."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused(f"The name {name} could not be resolved: {error}.") from error
    return ipaddress.ip_address(found[0][4][0])


def parameters(uri: str) -> dict[str, str]:
    """The parameters of a URI."""
    return dict(parse_qsl(split(uri).query, keep_blank_values=True))


def with_parameters(uri: str, wanted: Mapping[str, str | None], *, replace: bool = True) -> str:
    """The URI with these parameters besides its own; None takes one away. Without ``replace`` its own stay."""
    now = parameters(uri)
    new = {**now, **wanted} if replace else {**wanted, **now}
    kept = {name: value for name, value in new.items() if value is not None}
    before, query = uri.partition("?")[0], urlencode(kept, quote_via=quote)  # libvirt takes %20 for a blank, no plus
    return f"{before}?{query}" if query else before


def is_host(text: str) -> bool:
    """Whether a text is an address or could be a host's name."""
    return _is_address(text) or HOSTNAME.fullmatch(text) is not None


def is_local(uri: str) -> bool:
    """Whether the host is the machine that this runs on, going by its URI."""
    parts = urlsplit(uri)
    return not parts.hostname or parts.scheme in PRETENDED


def _check_form(parts: SplitResult) -> None:
    if parts.scheme == "qemu" and parts.netloc:
        raise Refused(f"qemu:// with a host does not say how to reach it. {KINDS}")
    if parts.path != "/system":
        raise Refused(f"The path is /system, the libvirt that root runs; not {parts.path[:64] or 'empty'}.")
    if parts.scheme in LOCAL:
        if parts.netloc:
            raise Refused(f"{parts.scheme}:// is this machine and names no host. {KINDS}")
        return
    if not parts.hostname:
        raise Refused(f"{parts.scheme}:// must name a host. {KINDS}")
    if not is_host(parts.hostname):
        raise Refused(f"{parts.hostname[:64]!r} is neither a host name nor an address.")
    _check_user(parts)


def _check_user(parts: SplitResult) -> None:
    if parts.password is not None:
        raise Refused("A URI holds no password. Let the control node's key in on the host instead.")
    if parts.username is None:
        return
    if parts.scheme != "qemu+ssh":
        raise Refused(f"{parts.scheme}:// knows no users; leave out {parts.username[:64]}@.")
    if not USER.fullmatch(parts.username):
        raise Refused(f"{parts.username[:64]!r} is no user name.")


def _check_parameters(parts: SplitResult) -> None:
    allowed = PARAMETERS[parts.scheme]
    if parts.fragment:
        raise Refused("A libvirt URI has no part after #.")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "no_verify":
            raise Refused("no_verify=1 would take whoever answers for the host. Leave it out.")
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise Refused(f"The parameter {name[:32]} is not taken; {parts.scheme}:// may have: {known}.")
        if not value.isprintable():
            raise Refused(f"The value of {name} cannot be printed.")
        if name in READ_BY_A_SHELL and not PLAIN_PATH.fullmatch(value):
            raise Refused(f"The value of {name} is a path of letters, digits and . _ + - alone.")


def _is_address(text: str) -> bool:
    """Not one with a zone ("fe80::1%eth0"): that is known on one machine alone, and may be any text."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
