"""The steps of an operation in its action log, one row each: the end of one is written with the beginning of the next.

So a step costs one transaction. What a worker that dies leaves is a step without an end, as before;
whoever goes on runs it again, with a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from django.utils import timezone

from compute.models import Action, Event
from compute.operations.leases import clock
from portal.compiled import insert, update_each

if TYPE_CHECKING:
    from compute.models import Instance

ENDS_WITH = ("finished_at", "result", "message", "traceback", "host")


class Journal:
    """The log of one worker's attempt at an action."""

    def __init__(self, action: Action, instance: Instance) -> None:
        self._action = action
        self._instance = instance
        self._event: Event | None = None
        self._since = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no step has begun yet."""
        return self._event is None

    def next(self, name: str) -> Event:
        """The row of the step that comes next, for ``write``. Once that is committed, say ``went_on``."""
        return Event(action=self._action, name=name, attempt=self._action.attempts, host=self._host())

    def went_on(self, event: Event) -> None:
        """This step is under way."""
        self._event, self._since = event, clock()

    def seconds(self) -> float:
        """How long the step has been under way."""
        return clock() - self._since

    def ended(self, result: str, message: str = "", details: str = "") -> None:
        """The step under way has ended; ``write`` writes it, with the next step's beginning."""
        assert self._event is not None
        self._event.finished_at = timezone.now()
        self._event.result, self._event.message, self._event.traceback = result, message, details
        self._event.host = self._host() or self._event.host

    def write_end(self) -> None:
        """Write how the last step ended, if it has; twice does no harm."""
        write([self])

    @property
    def last(self) -> Event | None:
        """The last step, if it has ended."""
        return self._event if self._event is not None and self._event.finished_at is not None else None

    def _host(self) -> str:
        return self._instance.host.name if self._instance.host else ""


def write(journals: Iterable[Journal], begun: Sequence[Event] = ()) -> None:
    """Write how the last steps of these ended, and that others begin."""
    if ended := [one.last for one in journals if one.last is not None]:
        update_each(Event, ENDS_WITH, {one.pk: [getattr(one, name) for name in ENDS_WITH] for one in ended})
    if begun:
        insert(*begun)
