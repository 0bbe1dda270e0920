"""The part of the driver interface about guests that grow while they run. ``interface`` puts it together."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID


class Growth(Protocol):
    """Processors and memory of a guest that is on, within what it was started with room for.

    Only the running guest changes: its definition is ``define``'s. Less than before is a request to the
    guest, which may take no notice of it; both then raise Busy, as they do when the guest is not on.
    """

    def set_live_vcpus(self, uuid: UUID, vcpus: int) -> None:
        """The guest has so many processors. Raises Unsupported for more than it has room for."""

    def set_live_memory(self, uuid: UUID, memory_mb: int) -> None:
        """The guest has so much memory. Raises Unsupported for more than it has room for, and where it would
        be less by another amount than was once added."""

    def live_size(self, uuid: UUID) -> tuple[int, int]:
        """The processors and the memory, MiB, that the guest has now. Raises Gone, and Busy if it is not on."""
