"""The steps of an operation in its action log, one row each: the end of one is written with the beginning of the next.

So a step costs one transaction. What a worker that dies leaves is a step without an end, as before;
whoever goes on runs it again, with a row of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from compute.models import Action, Event

if TYPE_CHECKING:
    from compute.models import Instance


class Journal:
    """The log of one worker's attempt at an action."""

    def __init__(self, action: Action, instance: Instance) -> None:
        self._action = action
        self._instance = instance
        self._event: Event | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no step has begun yet."""
        return self._event is None

    def next(self, name: str) -> Event:
        """The row of the step that comes next, for ``turn_to``."""
        return Event(action=self._action, name=name, attempt=self._action.attempts, host=self._host())

    def turn_to(self, event: Event) -> None:
        """Write the end of the step before, and that this one begins. Once that is committed, say ``went_on``."""
        self.write_end()
        event.save(force_insert=True)

    def went_on(self, event: Event) -> None:
        """This step is under way."""
        self._event = event

    def ended(self, result: str, message: str = "", details: str = "") -> None:
        """The step under way has ended; ``write_end`` or the next step's beginning writes it."""
        assert self._event is not None
        self._event.finished_at = timezone.now()
        self._event.result, self._event.message, self._event.traceback = result, message, details
        self._event.host = self._host() or self._event.host

    def write_end(self) -> None:
        """Write how the last step ended, if it has; twice does no harm."""
        one = self._event
        if one is not None and one.finished_at is not None:
            Event.objects.filter(pk=one.pk).update(
                finished_at=one.finished_at,
                result=one.result,
                message=one.message,
                traceback=one.traceback,
                host=one.host,
            )

    def _host(self) -> str:
        return self._instance.host.name if self._instance.host else ""
