"""The way from here to a guest's screen: looked up afresh, then checked once more."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from compute.hosts.asking import ask_host
from compute.hypervisor.interface import Busy, Gone, HypervisorError, Unsupported, VncEndpoint
from compute.models import Host
from consoleproxy.tokens import Grant, Refused

CONNECT_SECONDS = 5.0
NOT_RUNNING = "The instance is not running."


def connect(grant: Grant) -> socket.socket:
    """A connection to the screen of the granted instance, and to no other. Raises Refused.

    The host is asked before and after: a guest that still has the port once the connection stands
    is the one that answered. In between it might have stopped, and another guest taken its port.
    """
    try:
        endpoint = ask_host(grant.host, "vnc", grant.instance_id)
        screen = socket.create_connection(address_of(grant.host, endpoint), timeout=CONNECT_SECONDS)
        try:
            if ask_host(grant.host, "vnc", grant.instance_id) != endpoint:
                raise Refused("The instance was restarted just now. Open its console again.")
        except BaseException:
            screen.close()
            raise
    except (Gone, Busy) as error:
        raise Refused(NOT_RUNNING) from error
    except Unsupported as error:
        raise Refused("The instance has no screen that can be shown here.") from error
    except HypervisorError as error:
        raise Refused("The host of the instance does not answer.") from error
    except OSError as error:
        raise Refused("The instance's screen does not answer.") from error
    screen.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return screen


def address_of(host: Host, endpoint: VncEndpoint) -> tuple[str, int]:
    """Where this process reaches an endpoint of that host.

    On this machine: where the guest says that it listens. On another: at the host's console
    address, never at an address of ours, where the same port is another guest's. Raises Refused for
    a host whose console address leads back here.
    """
    if is_here(host):
        return ("127.0.0.1" if _is(endpoint.host, "unspecified") else endpoint.host, endpoint.port)
    if _is(host.console_address, "loopback") or _is(host.console_address, "unspecified"):
        raise Refused("The host of the instance has no console address that can be reached from here.")
    return (host.console_address, endpoint.port)


def is_here(host: Host) -> bool:
    """Whether a host's guests run on this machine, going by its URI (qemu:///system has no name in it)."""
    parts = urlsplit(host.uri)
    return not parts.hostname or parts.scheme == "fake" or _is(parts.hostname, "loopback")


def _is(name: str, what: str) -> bool:
    """Whether a name or address is ``loopback`` or ``unspecified``. Names are not resolved."""
    if name in ("", "localhost"):
        return what == ("loopback" if name else "unspecified")
    try:
        return bool(getattr(ipaddress.ip_address(name), f"is_{what}"))
    except ValueError:
        return False
