"""What a guest wrote to its serial port: the console log, for the API and the pages.

The one read that asks a host. It is bounded in bytes and in time, and a host that the database
calls down is not asked at all, so that a page stays fast when a host is not.
"""

from __future__ import annotations

import logging

from compute.errors import Conflict
from compute.hosts.asking import ask_host
from compute.hypervisor.interface import Gone, HypervisorError
from compute.models import Host, Instance

log = logging.getLogger(__name__)

# Nova's own bound (MAX_CONSOLE_BYTES in its libvirt driver).
MAX_BYTES = 102_400


def console_log(instance: Instance, length: int | None = None) -> str:
    """The last ``length`` lines of the console log (None or negative: all that is kept, 100 KiB at most).

    Bytes that are no UTF-8 are replaced. Raises Conflict when the instance has no host or no guest
    yet, and when its host is down or does not answer within 5 s. Who may read it is the caller's to
    check (rule ``os_compute_api:os-console-output``).
    """
    if instance.host is None or instance.deleted_at is not None:
        raise Conflict(f"Instance {instance.pk} is not ready")
    if not instance.host.is_up:
        raise Conflict(f"The host of instance {instance.pk} is down; its console log cannot be read now.")
    text = _read(instance, instance.host).decode(errors="replace")
    return text if length is None or length < 0 else _last_lines(text, length)


def _read(instance: Instance, host: Host) -> bytes:
    try:
        return bytes(ask_host(host, "console_log", instance.pk, MAX_BYTES))
    except Gone as error:
        raise Conflict(f"Instance {instance.pk} is not ready") from error
    except HypervisorError as error:
        log.warning("host %s gave no console log of %s: %s", host.name, instance.pk, error)
    raise Conflict(f"The host of instance {instance.pk} does not answer; its console log cannot be read now.")


def _last_lines(text: str, length: int) -> str:
    return "\n".join(text.split("\n")[-length:]) if length else ""
