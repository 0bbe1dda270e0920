"""What a driver may raise: six errors, and nothing else. ``interface`` has them too."""

from __future__ import annotations


class HypervisorError(Exception):
    """A hypervisor could not do what it was asked. The text is fit for an operator's eyes.

    ``host_id`` is whatever the caller calls the host that said so; of several hosts it tells which.
    """

    host_id: int | None = None


class Gone(HypervisorError):
    """The guest, volume or network is not there."""


class Busy(HypervisorError):
    """The object is in use or another job holds it; the same call may succeed later."""


class Unreachable(HypervisorError):
    """The host does not answer. Nothing is known about what it did; the only fault worth a retry."""


class Unsupported(HypervisorError):
    """This host or guest cannot do that at all."""


class NoSpace(HypervisorError):
    """The host has no memory or storage left for it."""


class Failed(HypervisorError):
    """Anything else: the hypervisor tried and said no."""
