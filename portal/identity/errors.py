"""What can be wrong with a request about identity, in Keystone's sentences.

The API turns each class into a status; the pages show the sentence.
"""

from __future__ import annotations


class IdentityError(Exception):
    """The base of all that a caller can be told."""


class Invalid(IdentityError):
    """The request makes no sense as it stands (HTTP 400)."""


class Unauthorized(IdentityError):
    """Whoever asks is not who they say, or has no role where they want to go (HTTP 401).

    The caller is never told which: the reason is for the log (OSSA-2021-003).
    """


class NotAllowed(IdentityError):
    """The thing itself forbids it, whoever asks: an immutable role, say (HTTP 403)."""

    def __init__(self, action: str) -> None:
        super().__init__(f"You are not authorized to perform the requested action: {action}")


class NotFound(IdentityError):
    """There is no such thing (HTTP 404)."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"Could not find {kind}: {name}.")


class Conflict(IdentityError):
    """A name is taken, or something still stands in the way (HTTP 409)."""
