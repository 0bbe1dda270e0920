"""A worker's turn: operations of one kind that wait together are worked on together, step by step.

What an operation writes between its steps (the lease, the task state, the log, the change feed) is the same for
all, so it is written for all in one transaction. The steps run one after the other, each operation's in its own
time: what fails in one concerns no other. A single operation is a turn of one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import Error, transaction
from django.utils import timezone

from compute.models import ActionState, Instance, announce_all
from compute.operations import journal as journal_of
from compute.operations import leases
from compute.operations.doorbell import ring_next
from compute.operations.engine import Operation, Step
from compute.operations.leases import Lost
from portal.compiled import Rows, among, update_each
from portal.requestid import working_on

log = logging.getLogger(__name__)

_INSTANCES = Rows(lambda: Instance.objects.filter(**among(Instance, pk="ids")))

# An operation whose step took longer than this goes on when the others of its turn have ended.
SLOW_SECONDS = 2.0


@dataclass(frozen=True)
class Beginning:
    """A step is about to begin: the lease is still ours, the task state says where we are, the log as well."""

    operation: Operation
    step: Step

    @property
    def shown(self) -> str | None:
        """The task state that the instance is to show from now on; None: as it is."""
        return self.step.task_state if self.operation.instance.task_state != self.step.task_state else None


@dataclass(frozen=True)
class Ending:
    """The action is over, and the instance gets its final states with it."""

    operation: Operation
    state: ActionState = ActionState.DONE
    message: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


Write = Beginning | Ending
# An operation's work: it hands out what is to be written, and goes on when that is committed, or with what was
# raised. Its value says whether it now waits: for its host, or the database.
Work = Generator[Write, None, bool]


class Turn:
    """One operation's part in a turn. Its lease is kept alive until it leaves."""

    def __init__(self, operation: Operation, work: Work) -> None:
        self.operation, self._work = operation, work
        self.write: Write | None = None  # what it waits for
        self.error: Exception | None = None  # one that nobody expected
        self.slow = False
        self._waits = False
        self._started = time.monotonic()
        self._kept = ExitStack()
        self._kept.enter_context(operation.lease.kept_alive())

    @property
    def place(self) -> tuple[Any, ...]:
        """Those of the same place are written together."""
        if isinstance(self.write, Beginning):
            return Beginning, self.write.step.name, self.write.step.final
        assert self.write is not None
        return Ending, self.write.state, self.write.message

    def go_on(self, error: Exception | None = None) -> None:
        """Work until the next write, after the one before is committed, or has failed with this error."""
        action, began, self.write = self.operation.action, time.monotonic(), None
        with working_on(action.request_id, action.user_name, action.project_name or action.project_id):
            try:
                self.write = self._work.throw(error) if error else next(self._work)
            except StopIteration as end:
                self._waits = bool(end.value)
            except Lost:
                log.info("%s of %s: stopped, it is no longer wanted here", action.operation, action.instance_id)
            except Exception as unexpected:
                log.exception("%s of %s: nobody expected this", action.operation, action.instance_id)
                self.error = unexpected
            if self.write is None:
                seconds = time.monotonic() - self._started
                log.info("%s of %s left after %.3f s", action.operation, action.instance_id, seconds)
        self.slow = self.slow or time.monotonic() - began > SLOW_SECONDS

    def let_go(self) -> None:
        """Keep the lease alive no more: nobody works on it."""
        self._kept.close()

    def leave(self) -> UUID | None:
        """Give the lease back. Returns the instance, if another operation may be at it now."""
        self.operation.lease.release()
        return None if self._waits else self.operation.instance.pk


def work_through(operations: Sequence[Operation], work: Callable[[Operation], Work]) -> None:
    """Work on operations until each has ended, or waits. Raises what nobody expected of one, when all are through."""
    turns: list[Turn] = []
    errors: list[Exception] = []
    try:
        turns += (Turn(operation, work(operation)) for operation in operations)
        for turn in turns:
            turn.go_on()
        while turns := _left(turns, errors):
            for one in _next(turns):
                _write(one)
    finally:
        _leave(turns)
    if errors:
        raise errors[0]


def _left(turns: list[Turn], errors: list[Exception]) -> list[Turn]:
    """Those that go on; the others leave."""
    over = [turn for turn in turns if turn.write is None]
    errors += [turn.error for turn in over if turn.error is not None]
    _leave(over)
    return [turn for turn in turns if turn.write is not None]


def _leave(turns: Sequence[Turn]) -> None:
    """Let all go, whatever the database says: what it does not hear of runs out, and the janitor rings."""
    for turn in turns:
        turn.let_go()
    try:
        if free := [instance_id for turn in turns if (instance_id := turn.leave())]:
            ring_next(free)
    except Error:
        log.exception("%d leases were not given back; the janitor will ring", len(turns))


def _next(turns: list[Turn]) -> list[list[Turn]]:
    """Who is written next, those together that can be. What is slow goes on when all others are through, on its own.

    Until then it has its end told, if it has come to it; and while another slow one is at work, what is no longer
    wanted is told so.
    """
    groups: dict[tuple[Any, ...], list[Turn]] = {}
    for turn in turns:
        if not turn.slow or isinstance(turn.write, Ending):
            groups.setdefault(turn.place, []).append(turn)
    if groups:
        return list(groups.values())
    return [turns[:1], *([turn] for turn in turns[1:] if not turn.operation.still_wanted())]


def _write(turns: list[Turn]) -> None:
    """Write what these wait for in one transaction, and go on with each. What fails for all is tried for each."""
    writes = [turn.write for turn in turns if turn.write is not None]
    try:
        write_together(writes)
    except Exception as error:
        if len(turns) == 1:
            turns[0].go_on(error)
            return
        log.info("%d operations could not be written together (%s); each is written alone", len(turns), error)
        for turn in turns:
            _write([turn])
    else:
        _look_ahead(writes)
        for turn in turns:
            turn.go_on()


def _look_ahead(writes: Sequence[Write]) -> None:
    """Before the same step of several operations: what is done for them at once."""
    beginnings = [one for one in writes if isinstance(one, Beginning)]
    if len(beginnings) < 2 or beginnings[0].step.ahead is None:
        return
    try:
        beginnings[0].step.ahead([one.operation for one in beginnings])
    except Exception as error:
        log.info("%s for %d at once: %s; each does it alone", beginnings[0].step.name, len(beginnings), error)


def write_together(writes: Sequence[Write]) -> None:
    """Beginnings or endings, in one transaction. Raises Lost, and what the database raises; then none is written."""
    beginnings = [one for one in writes if isinstance(one, Beginning)]
    if beginnings:
        _begin(beginnings)
    else:
        with transaction.atomic():
            end([one for one in writes if isinstance(one, Ending)])


def _begin(writes: Sequence[Beginning]) -> None:
    operations = [one.operation for one in writes]
    journals = [one.journal for one in operations]
    events = [one.operation.journal.next(one.step.name) for one in writes]
    shown = {one.operation.instance: one.shown for one in writes if one.shown}
    final = any(one.step.final for one in writes)
    if all(journal.is_empty for journal in journals) and not shown and not final:
        journal_of.write((), events)  # the leases were taken a moment ago
    else:
        with transaction.atomic():
            leases.renew_all([one.lease for one in operations], **({"past_return": True} if final else {}))
            _show(shown)
            journal_of.write(journals, events)
    for instance, task_state in shown.items():
        instance.task_state = task_state
    for journal, event in zip(journals, events, strict=True):
        journal.went_on(event)


def _show(shown: dict[Instance, str]) -> None:
    """Task states of instances, and the news of them."""
    for task_state in dict.fromkeys(shown.values()):
        these = [instance.pk for instance, state in shown.items() if state == task_state]
        _INSTANCES.update({"task_state": task_state, "updated_at": timezone.now()}, ids=these)
    if shown:
        announce_all("server", [(instance.pk, instance.project_id) for instance in shown])


def end(endings: Sequence[Ending]) -> None:
    """Actions end, all with the same state and message, and their instances get their final states.

    Call it inside a transaction. Raises Lost, and Cancelled where a success was no longer wanted.
    """
    now, operations, first = timezone.now(), [one.operation for one in endings], endings[0]
    fields = {"state": first.state, "message": first.message, "secret": "", "finished_at": now, "updated_at": now}
    # Of what succeeds: who asked for its end until now has asked in time.
    leases.end_all([one.lease for one in operations], wanted=first.state == ActionState.DONE, **fields)
    journal_of.write([one.journal for one in operations])
    _set_instances(endings)
    announce_all("server", [(one.instance.pk, one.instance.project_id) for one in operations])
    if first.state == ActionState.DONE:
        type(first.operation).completed_together(operations)


def _set_instances(endings: Sequence[Ending]) -> None:
    """The instances get their final states. Raises Lost where one is deleted already."""
    wanted = {}
    for one in endings:
        one.operation.lease.check()
        # Where it shows no task of its own, the task under way, if there is one, is another's.
        free = {"task_state": None} if one.operation.during is not None else {}
        wanted[one.operation.instance] = {"updated_at": timezone.now(), **free, **one.fields}
    for names in {tuple(fields) for fields in wanted.values()}:
        these = {row.pk: tuple(fields.values()) for row, fields in wanted.items() if tuple(fields) == names}
        if update_each(Instance, names, these, null="deleted_at") < len(these):
            raise Lost("the instance is deleted already")
    for instance, fields in wanted.items():
        for name, value in fields.items():
            setattr(instance, name, value)
