"""The one script that lets this cloud in to a host over TLS, made out to the host's address."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path

from compute.hosts import certificates
from compute.hypervisor.ways import is_host
from portal.identity.actor import Actor

TEMPLATE = Path(__file__).with_name("tls_setup.sh")


def tls_script(actor: Actor, address: str) -> str:
    """The script, with a certificate of its own: whoever has it can answer in the host's place. Raises Invalid."""
    made = certificates.issue(actor, address)
    values = {
        "ADDRESS": made.address,
        "URI": _in_uri(made.address),
        "CLIENT": made.client,
        "UNTIL": f"{made.good_until:%F}",
        "AUTHORITY": made.authority.strip(),
        "CERTIFICATE": made.certificate.strip(),
        "KEY": made.key.strip(),
        "PEER_CERTIFICATE": made.peer_certificate.strip(),
        "PEER_KEY": made.peer_key.strip(),
    }
    text = TEMPLATE.read_text()
    for name, value in values.items():
        assert "'" not in value, "it stands between single quotes"
        text = text.replace(f"@{name}@", value)
    return text


def _in_uri(address: str) -> str:
    return f"[{address}]" if is_host(address) and ":" in address and IPv6Address(address) else address
