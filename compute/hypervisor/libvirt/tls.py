"""The way to a host over TLS: why it failed, and how long the host's certificate holds.

libvirt says no more than that the peer's certificate could not be verified. So the same handshake is made once
more, by Python's own TLS, which says why.
"""

from __future__ import annotations

import os
import socket
import ssl
from datetime import UTC, datetime

from compute.hypervisor import ways

TIMEOUT_SECONDS = 5.0
FORMAT = "%b %d %H:%M:%S %Y %Z"  # of getpeercert()
# OpenSSL's numbers (X509_verify_cert_error_string(3)).
EXPIRED, NOT_YET_VALID, OTHER_NAME, OTHER_ADDRESS = 10, 9, 62, 64


def explain(uri: str, said: str, means: ways.Ways) -> str:
    """What a failure means and what to do about it; empty where that is not known."""
    folder = folder_of(uri, means)
    host = ways.split(uri).hostname or ""
    if not folder or ("certificate" not in said.lower() and "TLS" not in said):
        return ""
    again = "Run a new setup script on the host"
    try:
        shake_hands(uri, folder)
    except ssl.SSLCertVerificationError as error:
        return {
            EXPIRED: f"The certificate of {host} has ended. {again}.",
            NOT_YET_VALID: f"The certificate of {host} is not valid yet: the clocks here and there differ.",
            OTHER_NAME: f"The certificate that {host} shows is not for this name. {again}, made for {host}.",
            OTHER_ADDRESS: f"The certificate that {host} shows is not for this address. {again}, made for {host}.",
        }.get(
            error.verify_code,
            f"{host} shows a certificate of another authority ({error.verify_message}): it was set up for another "
            f"cloud, or somebody else answers in its place. {again}, if it shall be this one's.",
        )
    except (OSError, ssl.SSLError):
        return ""
    return (
        f"{host} does not let this cloud in: libvirt there does not know its certificate, or allows others "
        f"(tls_allowed_dn_list). {again}."
    )


def good_until(uri: str, means: ways.Ways) -> datetime | None:
    """When the host's certificate ends; None where there is none, or it cannot be asked."""
    folder = folder_of(uri, means)
    if not folder:
        return None
    try:
        ends = shake_hands(uri, folder)
    except OSError:
        return None
    return datetime.strptime(ends, FORMAT).replace(tzinfo=UTC)


def folder_of(uri: str, means: ways.Ways) -> str:
    """Where the certificates for this URI lie: where it says itself, or else where the cloud's own are."""
    if ways.split(uri).scheme != "qemu+tls":
        return ""
    return ways.parameters(uri).get("pkipath") or (means.pki() if means.pki else "")


def shake_hands(uri: str, folder: str) -> str:
    """The moment at which the certificate of who answers there ends. Raises ssl.SSLError and OSError."""
    parts = ways.split(uri)
    context = ssl.create_default_context(cafile=os.path.join(folder, "cacert.pem"))
    context.load_cert_chain(os.path.join(folder, "clientcert.pem"), os.path.join(folder, "clientkey.pem"))
    address = (parts.hostname or "", parts.port or ways.PORTS["qemu+tls"])
    with (
        socket.create_connection(address, timeout=TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
    ):
        certificate = secured.getpeercert()
        assert certificate is not None  # it was verified
        return str(certificate["notAfter"])
