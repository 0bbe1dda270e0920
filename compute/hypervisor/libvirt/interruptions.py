"""What happens to a guest between its start and its end: pause, suspend, an interrupt, a password."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import libvirt

from compute.hypervisor.interface import Busy, Unsupported
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.session import Session

AGENT_SECONDS = 10  # an agent that was asked and says nothing for so long is no agent


class Interruptions:
    """The verbs that hold a guest, let it go on, or speak to what runs in it."""

    _session: Session
    start: Callable[[UUID], None]

    @plain_errors()
    def pause(self, uuid: UUID) -> None:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        with only_while_on(domain):
            domain.suspend()

    @plain_errors()
    def unpause(self, uuid: UUID) -> None:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        if domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:  # libvirt refuses to resume what runs
            with only_while_on(domain):
                domain.resume()

    @plain_errors()
    def suspend(self, uuid: UUID) -> None:
        """See the interface: libvirt's managed save. Raises Gone. Takes as long as the host's disk needs."""
        domain = self._session.domain(uuid)
        try:
            with only_while_on(domain):
                domain.managedSave(libvirt.VIR_DOMAIN_SAVE_RUNNING)
        except Busy:
            if not is_suspended(domain):
                raise

    @plain_errors()
    def resume(self, uuid: UUID) -> None:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        if not is_suspended(domain):
            self.start(uuid)
            return self.unpause(uuid)
        domain.create()

    @plain_errors()
    def inject_nmi(self, uuid: UUID) -> None:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        with only_while_on(domain):
            domain.injectNMI()

    @plain_errors()
    def set_password(self, uuid: UUID, user: str, password: str) -> None:
        """See the interface. Raises Gone, and Busy while the guest is paused: its agent is, too.

        libvirt knows at once of an agent that never spoke; for one that fell silent there is a limit.
        """
        domain = self._session.domain(uuid)
        if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            raise Busy("The guest is paused.")
        try:
            with only_while_on(domain):
                domain.agentSetResponseTimeout(AGENT_SECONDS)
                domain.setUserPassword(user, password)
        except libvirt.libvirtError as error:
            if has_code(error, *NO_AGENT):
                raise Unsupported("No agent answers in the guest. Does qemu-guest-agent run there?") from error
            raise


NO_AGENT = (
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
    libvirt.VIR_ERR_AGENT_UNSYNCED,
    getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", libvirt.VIR_ERR_AGENT_UNRESPONSIVE),  # libvirt 6.10
)


def is_suspended(domain: Any) -> bool:
    """Whether its memory is on the host's disk, and it is off."""
    return bool(domain.hasManagedSaveImage()) and not domain.isActive()


@contextmanager
def only_while_on(domain: Any) -> Iterator[None]:
    """What libvirt refuses because the guest is off is Busy: it may be on later."""
    try:
        yield
    except libvirt.libvirtError as error:
        if has_code(error, libvirt.VIR_ERR_OPERATION_INVALID) and not domain.isActive():
            raise Busy("The guest is not running.") from error
        raise
