"""The worker's side: take the lease, run the steps, end in a state that a user can act on.

After a worker's death another runs the same steps again; each finds what is already done. What a
failure leaves is undone before the operation ends. Nothing here waits for a person.
"""

from __future__ import annotations

import enum
import logging
import re
import traceback
from collections.abc import Generator, Sequence
from urllib.parse import urlsplit

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.utils import timezone

from compute.errors import ComputeError
from compute.hypervisor.interface import HypervisorError, Unreachable
from compute.models import Action, ActionState, Fault, Host, VmState, announce
from compute.operations import OPERATIONS
from compute.operations.engine import AnotherLane, Operation, Step, cancel, past_limit
from compute.operations.leases import Cancelled, Lease, Lost, take, take_more
from compute.operations.turns import Beginning, Ending, Work, Write, end, work_through
from portal.compiled import Rows, among

log = logging.getLogger(__name__)

# A row that has killed this many workers is given up: something in it is deadly.
MAX_ATTEMPTS = 10

_ACTIONS = Rows(lambda: Action.objects.select_related("instance__host").filter(**among(Action, pk="ids")))
# A step that comes on so much later than its beginning was written asks first whether it is still wanted.
LOOK_AGAIN_SECONDS = 1.0


def perform(action_id: int, lane: str) -> None:
    """Work on an action, if it is open and nobody else is at its instance; and on more of its kind that wait."""
    first = take(action_id)
    if first is None:
        return
    held = [first]
    try:
        operations = _operations(held, lane)
        if lane == operations[0].lane and operations[0].most_together > 1:
            held += take_more(first, operations[0].name, operations[0].most_together - 1, settings.WORKERS_COMPUTE)
            operations += _operations(held[1:], lane)
    except BaseException:
        for lease in held:
            lease.release()
        raise
    work_through(operations, _work)


def _operations(held: Sequence[Lease], lane: str) -> list[Operation]:
    """What these leases are of."""
    if not held:
        return []
    rows = {action.pk: action for action in _ACTIONS.all(ids=[lease.action_id for lease in held])}
    found = [(rows[lease.action_id], lease) for lease in held]
    return [OPERATIONS[action.operation](action, action.instance, lease, lane) for action, lease in found]


def _work(operation: Operation) -> Work:
    """Run the steps to an end. Its value says whether the operation now waits: for its host, or the database."""
    action = operation.action
    log.info("%s of %s begins (attempt %d)", action.operation, action.instance_id, action.attempts)
    if operation.instance.deleted_at is not None:
        cancel([action], "The server is deleted already.")
        return False
    if action.cancelled_by:  # nobody has begun, or whoever was at it has died since
        return (yield from _take_back(operation))
    if action.attempts > MAX_ATTEMPTS or past_limit(action, type(operation)):
        error = ComputeError(f"{operation.label} did not end within its limit of {operation.limit}; given up.")
        _undo(operation, list(operation.steps))
        _fail(operation, error, "")
        return False
    try:
        return (yield from _run_steps(operation))
    except Cancelled:
        return (yield from _take_back(operation))


def _run_steps(operation: Operation) -> Work:
    """The steps, again on other hosts where they fail. Its value is as that of ``_work``."""
    action = operation.action
    first = _first_step(operation)
    while True:
        done = list(operation.steps[:first])
        try:
            for step in operation.steps[first:]:
                done.append(step)
                yield from _run_step(operation, step)
            yield Ending(operation, fields=operation.outcome())
            return False
        except Lost:
            operation.journal.write_end()
            raise
        except AnotherLane as interruption:
            operation.note(lane=interruption.lane, resume={"step": step.name, "attempt": action.attempts + 1})
            return False
        except (OperationalError, InterfaceError) as error:
            # A deadlock, or a database that is away: nothing is wrong with the operation, and nothing to undo.
            log.warning("%s of %s: the database: %s", operation.name, operation.instance.pk, error)
            return True
        except Exception as error:
            verdict = _after_failure(operation, error, traceback.format_exc(), done)
            if verdict is not Verdict.AGAIN:
                return verdict is Verdict.WAITS
            first = 0


def _first_step(operation: Operation) -> int:
    """Where to begin: at the step that asked for this lane, or else at the first.

    Only the attempt that directly follows the change of lane knows that the steps before are done.
    """
    resume = operation.action.progress.get("resume", {})
    names = [step.name for step in operation.steps]
    if resume.get("attempt") == operation.action.attempts and resume.get("step") in names:
        return names.index(resume["step"])
    return 0


class Verdict(enum.Enum):
    """What a failed step leads to."""

    AGAIN = "the steps run again now"
    WAITS = "the host does not answer; the janitor rings later"
    ENDED = "the operation ended in error"


def _after_failure(operation: Operation, error: Exception, details: str, done: list[Step]) -> Verdict:
    if not isinstance(error, HypervisorError | ComputeError):
        log.exception("%s of %s failed", operation.name, operation.instance.pk)
    else:
        log.warning("%s of %s: %s", operation.name, operation.instance.pk, error)
    operation.lease.renew()
    if operation.try_again(error):
        _undo(operation, done)
        return Verdict.AGAIN
    if isinstance(error, Unreachable) and not past_limit(operation.action, type(operation)):
        _wait_for_host(operation, error)
        return Verdict.WAITS
    _undo(operation, done)
    _fail(operation, error, details)
    return Verdict.ENDED


def _run_step(operation: Operation, step: Step) -> Generator[Write, None, None]:
    yield Beginning(operation, step)
    journal = operation.journal
    try:
        if journal.seconds() > LOOK_AGAIN_SECONDS or operation.lease.lapsed():  # others of its turn came before it
            operation.lease.renew()
        step.run(operation)
    except (Lost, AnotherLane):
        journal.ended("", "stopped here")
        journal.write_end()
        raise
    except Exception as error:
        journal.ended("Error", sentence_for(error), traceback.format_exc())
        journal.write_end()
        raise
    journal.ended("Success")


def _fail(operation: Operation, error: Exception, details: str) -> None:
    """The operation ends in error: a fault with one sentence, and a state that the user can act on."""
    sentence = sentence_for(error)
    state = operation.failed_as()
    fields = {"vm_state": state} if state else {}
    with transaction.atomic():
        end([Ending(operation, ActionState.ERROR, sentence, fields)])
        operation.failed()
        Fault.objects.create(instance=operation.instance, message=sentence[:255], details=details)


def _take_back(operation: Operation) -> Work:
    """Somebody asked for its end: undo it all, also what a dead worker did. Its value is as that of ``_work``."""
    try:
        if operation.outran():
            operation.lease.go_on()
            return (yield from _run_steps(operation))
    except Unreachable as silence:
        _wait_for_host(operation, silence)
        return True
    error = _undo(operation, list(operation.steps))
    if error is not None and not past_limit(operation.action, type(operation)):
        _wait_for_host(operation, error)
        return True
    sentence = f"cancelled by {Action.objects.values_list('cancelled_by', flat=True).get(pk=operation.action.pk)}"
    state = operation.failed_as()
    with transaction.atomic():
        end([Ending(operation, ActionState.CANCELLED, sentence, {"vm_state": state} if state else {})])
        operation.failed()
        if state == VmState.ERROR:
            Fault.objects.create(instance=operation.instance, message=sentence[:255])
    return False


def sentence_for(error: Exception) -> str:
    """What the owner may read of a failure: our own sentences, never a foreign exception's text."""
    if isinstance(error, HypervisorError | ComputeError):
        return without_hosts(str(error))
    return f"An internal error ({type(error).__name__}); the administrator finds it by the request id."


TOLD_TO_ADMINISTRATORS = (
    "disabled_reason", "state_reason", "name", "uri", "migration_address", "console_address",
)  # fmt: skip


def without_hosts(text: str) -> str:
    """The text without what is the administrators' alone: hosts' names, addresses and files (OSSA-2019-003), and
    the reasons that they gave each other for a host's state.
    """
    names, reasons = set[str](), set[tuple[str, str]]()
    for disabled, down, name, uri, *addresses in Host.objects.values_list(*TOLD_TO_ADMINISTRATORS):
        reasons |= {("disabled", disabled.rstrip(".")), ("down", down.rstrip("."))}
        parts = urlsplit(uri)
        names |= {uri, name, *addresses, parts.netloc, parts.hostname or ""} - {""}
    for word, reason in sorted(reasons, key=lambda one: len(one[1]), reverse=True):  # one may begin as another does
        text = text.replace(f"is {word}: {reason}", f"is {word}") if reason else text
    longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    text = re.sub(rf"(?<![\w.-])(?:{longest_first})(?![\w-])", "a host", text) if names else text
    text = re.sub(r"\b[a-z+]+://\S+", "a host", text)
    return re.sub(r"(?<![\w/])/[\w.+@-]+(?:/[\w.+@-]+)+", "a file there", text)


def _undo(operation: Operation, done: list[Step]) -> Unreachable | None:
    """Take back, in reverse, what the steps took. What cannot be undone now is logged and goes on.

    Returns the error, if the host did not answer.
    """
    unreachable = None
    operation.lease.undoing = True
    for step in reversed(done):
        if step.undo is None:
            continue
        try:
            step.undo(operation)
        except Lost:
            raise
        except Exception as error:
            log.exception("undoing %s of %s", step.name, operation.instance.pk)
            unreachable = error if isinstance(error, Unreachable) else unreachable
    operation.lease.undoing = False
    return unreachable


def _wait_for_host(operation: Operation, error: Exception) -> None:
    """The host does not answer: keep the row open; the janitor rings again until the limit."""
    # It does not count as an attempt: those are for operations that kill their workers.
    Action.objects.filter(pk=operation.action.pk).update(
        message=sentence_for(error), attempts=F("attempts") - 1, updated_at=timezone.now()
    )
    announce("server", operation.instance.pk, operation.instance.project_id)
    log.warning("%s of %s waits for its host: %s", operation.name, operation.instance.pk, error)
