"""Writing key pairs: importing public keys, and making pairs whose private half is handed out once."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from django.db import IntegrityError, transaction
from django.utils import timezone

from compute import quota
from compute.errors import Conflict, Invalid, QuotaExceeded
from compute.models import KeyPair, announce
from portal.identity.actor import Actor
from portal.identity.models import User
from portal.identity.policy import enforce

RULE = "os_compute_api:os-keypairs:"
CERTIFICATE_YEARS = 10
PUBLIC_KEY_CAP = 16_384


def import_key(actor: Actor, *, name: str, public_key: str, kind: str = "ssh", user_id: str | None = None) -> KeyPair:
    """Keep a public key (OpenSSH's one-line form, or a PEM certificate for ``x509``).

    Raises Invalid for what is no key, Conflict when the user has one of the name, QuotaExceeded.
    """
    text = public_key.strip()
    fingerprint = certificate_fingerprint(text) if kind == "x509" else ssh_fingerprint(text)
    return _keep(actor, name=name, public_key=text, fingerprint=fingerprint, kind=kind, user_id=user_id)


def generate_key(actor: Actor, *, name: str, kind: str = "ssh", user_id: str | None = None) -> tuple[KeyPair, str]:
    """A new pair and its private half, which is not kept (Ed25519 for ``ssh``, RSA for ``x509``)."""
    public, private = _new_certificate(user_id or actor.user_id) if kind == "x509" else _new_ssh_key()
    pair = import_key(actor, name=name, public_key=public, kind=kind, user_id=user_id)
    return pair, private


def delete_key(actor: Actor, pair: KeyPair) -> None:
    """Delete a key pair; instances keep the copy that they were made with."""
    _check_user(actor, pair.user_id, "delete")
    with transaction.atomic():
        announce("keypair", pair.pk, actor.project_id or "")
        pair.delete()


def ssh_fingerprint(public_key: str) -> str:
    """The MD5 of the key's bytes with colons, as Nova shows it. Raises Invalid for what is no SSH key."""
    try:
        serialization.load_ssh_public_key(public_key.encode())
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (ValueError, IndexError, UnsupportedAlgorithm) as error:
        raise Invalid("Keypair data is invalid: failed to generate fingerprint; it is no OpenSSH public key") from error
    return _with_colons(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def certificate_fingerprint(certificate: str) -> str:
    """The SHA-1 of a certificate with colons. Raises Invalid for what is none."""
    try:
        digest = x509.load_pem_x509_certificate(certificate.encode()).fingerprint(hashes.SHA1())  # noqa: S303  (how Nova names x509 keys)
    except ValueError as error:
        raise Invalid(
            "Keypair data is invalid: failed to generate X509 fingerprint; it is no PEM certificate"
        ) from error
    return _with_colons(digest.hex())


def _with_colons(digits: str) -> str:
    return ":".join(digits[index : index + 2] for index in range(0, len(digits), 2))


def _new_ssh_key() -> tuple[str, str]:
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{public.decode()} Generated-by-Nacelle", private.decode()


def _new_certificate(user_id: str) -> tuple[str, str]:
    """A self-signed certificate for client authentication (WinRM), and its key, both PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    now = timezone.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * CERTIFICATE_YEARS))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def _check_user(actor: Actor, user_id: str, verb: str) -> None:
    enforce(actor, RULE + verb)
    if user_id != actor.user_id:
        enforce(actor, RULE + "other_user")


def _keep(actor: Actor, *, name: str, public_key: str, fingerprint: str, kind: str, user_id: str | None) -> KeyPair:
    owner = user_id or actor.user_id
    _check_user(actor, owner, "create")
    if len(public_key) > PUBLIC_KEY_CAP:
        raise Invalid(f"Keypair data is invalid: the public key is longer than {PUBLIC_KEY_CAP} characters")
    if not User.objects.filter(pk=owner).exists():
        raise Invalid(f"User {owner} could not be found.")
    allowed = quota.limits(actor.project_id or "")["key_pairs"]
    try:
        with transaction.atomic():
            pair = KeyPair.objects.create(
                user_id=owner, name=name, type=kind, public_key=public_key, fingerprint=fingerprint
            )
            if 0 <= allowed < KeyPair.objects.filter(user_id=owner).count():
                raise QuotaExceeded("Quota exceeded, too many key pairs.")
            announce("keypair", pair.pk, actor.project_id or "")
    except IntegrityError as error:
        raise Conflict(f"Key pair '{name}' already exists.") from error
    return pair
