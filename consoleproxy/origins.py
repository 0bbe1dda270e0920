"""Which pages may open consoles: a websocket has no same-origin rule, so the server must look.

The list comes from the settings alone and nothing at run time adds to it (OSSN-0101), least of all
the Host header, which is the caller's to choose. An origin is compared whole: scheme, host and port
(OSSA-2015-005). A request without an Origin header is let through, as by Nova: every browser sends
one, so it comes from a program, and a program that has a valid token needs no page to steal it.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings

REFUSAL = "This page may not open consoles: its origin is not the portal's."

# One listener on this machine, by its two names: whoever types the other one sees the same portal.
_TWINS = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}
_DEFAULT_PORTS = {"http": 80, "https": 443}


def allowed_origins() -> frozenset[str]:
    """The origins of the settings, as browsers write them."""
    found = {origin for url in settings.CONSOLE_ORIGINS for origin in _origins_of(url)}
    return frozenset(found)


def origin_allowed(origins: Sequence[str]) -> bool:
    """Whether a request with these Origin headers may open a console: none, or one that is listed."""
    if not origins:
        return True
    return len(origins) == 1 and origins[0] in allowed_origins()


def _origins_of(url: str) -> list[str]:
    parts = urlsplit(url.strip())
    host = parts.hostname or ""
    names = [host, _TWINS[host]] if host in _TWINS else [f"[{host}]" if ":" in host else host]
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return [f"{parts.scheme}://{name}{port}" for name in names]
