"""The cloud's own small certificate authority: for the way to hosts by libvirt's TLS, and for nothing else.

It lies in the data folder, is made when it is first needed, and knows two kinds of certificates: that of the
cloud itself, by which hosts know who may command them, and one for each host, by which the cloud knows that it
speaks to the right one. What is kept of a host's certificate is nothing: its key is in the script that is handed
out, and a new script makes a new one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.conf import settings

from compute.errors import Conflict, Invalid
from compute.hypervisor.ways import is_host
from portal.identity.actor import Actor
from portal.identity.policy import enforce

log = logging.getLogger(__name__)

# The names that libvirt looks for in a folder (https://libvirt.org/kbase/tlscerts.html).
CA_CERTIFICATE, CLIENT_CERTIFICATE, CLIENT_KEY = "cacert.pem", "clientcert.pem", "clientkey.pem"
CA_KEY = "cakey.pem"
CA_LIFE = timedelta(days=20 * 365)
LIFE = timedelta(days=825)
RENEW_BEFORE = timedelta(days=60)
# A certificate holds from a little before it was made: hosts' clocks differ.
BEFORE = timedelta(days=1)
AUTHORITY = "Nacelle hosts"  # its common name, with the cloud's number
COMMON_NAME_CAP = 64  # RFC 5280, ub-common-name


Extension = tuple[x509.ExtensionType, bool]  # and whether it is critical
Named = tuple[x509.Name, ec.EllipticCurvePrivateKey]


@dataclass(frozen=True)
class HostCertificate:
    """What a host needs, as PEM: the authority's certificate, and its own with the keys.

    ``certificate`` is what it shows to the cloud. ``peer_certificate`` is what it shows to another host when a
    guest goes from one to the other while it runs; no host's libvirt lets it in.
    """

    address: str
    authority: str
    certificate: str
    key: str
    peer_certificate: str
    peer_key: str
    good_until: datetime
    client: str  # the distinguished name that the host shall let in


def folder() -> Path:
    """Where the authority lies."""
    return Path(settings.DATA_DIR) / "pki"


def client_folder() -> str:
    """The folder with the cloud's own certificate, which is made, or made anew before it ends. Raises Conflict.

    A control node that cannot make it uses what it has to its end.
    """
    place = _authority()
    path = place / CLIENT_CERTIFICATE
    left = _read(path).not_valid_after_utc - datetime.now(UTC) if path.exists() else timedelta()
    if left < RENEW_BEFORE:
        try:
            _make_client(place)
        except Conflict as error:
            if left <= timedelta():
                raise
            log.warning("the cloud's own certificate ends in %d days: %s", left.days, error)
    return str(place)


def client_name() -> str:
    """The distinguished name of the cloud's certificate. It has one part, so that its order is no question."""
    return _name(_client_of(_read(_authority() / CA_CERTIFICATE))).rfc4514_string()


def issue(actor: Actor, address: str) -> HostCertificate:
    """A certificate for the host that is reached at this name or address. Raises Invalid and Conflict."""
    enforce(actor, "nacelle:host-certificates")
    address = address.strip()
    if not is_host(address):
        raise Invalid(f"{address[:64]!r} is neither a host name nor an address.", about="address")
    authority = _Authority.at(_authority())
    key, peer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name, named = address[:COMMON_NAME_CAP], (x509.SubjectAlternativeName([_general_name(address)]), False)
    made = authority.sign(name, key, [ExtendedKeyUsageOID.SERVER_AUTH], named)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    log.info("issued a certificate for the host at %s, good until %s", address, made.not_valid_after_utc)
    return HostCertificate(
        address=address,
        authority=_pem(authority.certificate),
        certificate=_pem(made),
        key=_key_pem(key),
        peer_certificate=_pem(authority.sign(name, peer_key, both, named)),
        peer_key=_key_pem(peer_key),
        good_until=made.not_valid_after_utc,
        client=client_name(),
    )


# within -------------------------------------------------------------------------------------------
def _authority() -> Path:
    """The folder; it is there, whole, from one moment on: of several who make it, the first wins."""
    place = folder()
    if not place.exists():
        draft = place.with_name(f"pki-{secrets.token_hex(4)}")
        draft.mkdir(mode=0o700)
        try:
            _make(draft)
            with contextlib.suppress(OSError):  # somebody was faster
                draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return place


def _make(place: Path) -> None:
    """The authority and the cloud's own certificate, into an empty folder."""
    cloud = secrets.token_hex(4)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{AUTHORITY} {cloud}")
    extensions: tuple[Extension, ...] = (
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(key_cert_sign=True, crl_sign=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    )
    _write(place / CA_KEY, _key_pem(key))
    _write(place / CA_CERTIFICATE, _pem(_certificate((name, key), (name, key), CA_LIFE, extensions)))
    _make_client(place)


def _make_client(place: Path) -> None:
    """The cloud's own certificate, always of the same name: hosts need not be told of a new one.

    The key stays what it is, if there is one: so a certificate is replaced in one step, and fits it.
    """
    path, authority = place / CLIENT_KEY, _Authority.at(place)
    if not path.exists():
        _write(path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
    made = authority.sign(_client_of(authority.certificate), _read_key(path), [ExtendedKeyUsageOID.CLIENT_AUTH])
    _write(place / CLIENT_CERTIFICATE, _pem(made))


def _client_of(authority: x509.Certificate) -> str:
    """The common name of the cloud's own certificate."""
    name = str(authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    return f"nacelle-{name.removeprefix(f'{AUTHORITY} ')}"


@dataclass(frozen=True)
class _Authority:
    """The authority as it signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def at(cls, place: Path) -> _Authority:
        """The one in a folder. Raises Conflict when its key is elsewhere or damaged, or its time is over."""
        try:
            certificate, key = _read(place / CA_CERTIFICATE), _read_key(place / CA_KEY)
        except FileNotFoundError as error:
            raise Conflict(
                f"{error.filename} is not on this control node. The folder pki is one for all control nodes: copy it "
                "from the one that made it; or move it away, and run a new script on each host."
            ) from error
        if certificate.not_valid_after_utc - datetime.now(UTC) < RENEW_BEFORE:
            raise Conflict(f"The authority in {place} ends. Move the folder away, and run a new script on each host.")
        return cls(certificate, key)

    def sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, purposes: list[x509.ObjectIdentifier], *more: Extension
    ) -> x509.Certificate:
        """A certificate that signs no other. Its key only signs, but libvirt warns where the other use is missing."""
        extensions: tuple[Extension, ...] = (
            *more,
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(digital_signature=True, key_encipherment=True), False),
            (x509.ExtendedKeyUsage(purposes), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        )
        life = min(LIFE, self.certificate.not_valid_after_utc - datetime.now(UTC))
        return _certificate((_name(name), key), (self.certificate.subject, self.key), life, extensions)


def _certificate(subject: Named, issuer: Named, life: timedelta, extensions: Sequence[Extension]) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject[0])
        .issuer_name(issuer[0])
        .public_key(subject[1].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEFORE)
        .not_valid_after(now + life)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer[1], hashes.SHA256())


def _usage(**used: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: used.get(name, False) for name in names})


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address.lower())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What is there and makes no sense is a Conflict, which names it."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise Conflict(f"{path} cannot be read: {type(error).__name__}. Put a copy back, as it was.") from error


def _read(path: Path) -> x509.Certificate:
    with _readable(path):
        return x509.load_pem_x509_certificate(path.read_bytes())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    with _readable(path):
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key


def _write(path: Path, text: str) -> None:
    """In one step, and for nobody else's eyes."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
