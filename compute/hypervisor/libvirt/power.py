"""What all parts of the driver know of a guest: whether it is on, how its power is cut, how it goes, whose it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import libvirt

from compute.hypervisor.interface import Gone, PowerState
from compute.hypervisor.libvirt import xml
from compute.hypervisor.libvirt.errors import has_code

if TYPE_CHECKING:
    from compute.hypervisor.libvirt.session import Session

UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)

# libvirt's states as Nova's. A guest that is shutting down still runs.
POWER_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
}


def has_our_mark(domain: Any) -> bool:
    """Whether it is ours: by the element that a definition of ours carries, or an adopted one was given."""
    try:
        domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.NAMESPACE)
    except libvirt.libvirtError as error:
        if has_code(error, libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            return False
        raise
    return True


def cut_power(domain: Any) -> None:
    """Off at once; that it is off by now is no error."""
    if_on(domain.destroy)


def undefine(session: Session, uuid: UUID, firmware: int) -> None:
    """Off, and out of libvirt's books with what it has saved. That there is no such guest is no error.

    ``firmware``: libvirt's flag that says what becomes of its NVRAM.
    """
    with suppress(Gone):
        domain = session.domain(uuid)
        try:
            cut_power(domain)
            domain.undefineFlags(UNDEFINE | firmware)
        except libvirt.libvirtError as error:
            if not has_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                raise


def if_on(call: Callable[[], object]) -> None:
    """Do it; that the guest is off by now is no error."""
    try:
        call()
    except libvirt.libvirtError as error:
        if not has_code(error, libvirt.VIR_ERR_OPERATION_INVALID):
            raise
