"""What can be wrong with a request, in sentences for whoever made it.

The APIs turn each class into a status and a body of their own form; the pages show the sentence.
"""

from __future__ import annotations


class ComputeError(Exception):
    """The base of all that a caller can be told."""


class Invalid(ComputeError):
    """The request makes no sense as it stands (HTTP 400). ``about`` names the input that is wrong, for forms."""

    def __init__(self, message: str = "", about: str = "") -> None:
        self.about = about
        super().__init__(message)


class NotFound(ComputeError):
    """There is no such thing, or none that the caller may see (HTTP 404)."""


class Conflict(ComputeError):
    """Not in this state, or somebody else came first (HTTP 409)."""


class QuotaExceeded(ComputeError):
    """The project has used up what it may have (HTTP 403)."""


class NotAllowed(ComputeError):
    """The thing itself forbids it, whoever asks: a protected image, say (HTTP 403)."""


class TooLarge(ComputeError):
    """More bytes than are accepted (HTTP 413)."""


class NoValidHost(ComputeError):
    """No host can take the instance; the sentence says what was short."""


class NoMoreAddresses(ComputeError):
    """The subnet has no free address left."""
