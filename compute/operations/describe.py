"""The operations as a document: what each may start from, what it shows, where it ends."""

from __future__ import annotations

from collections.abc import Iterator

from compute.models.states import VmState
from compute.operations import OPERATIONS
from compute.operations.engine import Operation


def operations_document() -> str:
    """Markdown, derived from the operations' own statements."""
    return "\n".join(
        [
            "# Operations",
            "",
            "Derived from `compute/operations/`; `manage.py document` writes it.",
            "",
            "## What each one is",
            "",
            *_table(),
            "",
            "## Where each may start",
            "",
            "A dot: the operation may start from that state, when no task is under way.",
            "",
            *_states(),
            "",
        ]
    )


def _table() -> Iterator[str]:
    yield "| operation | on the wire | policy rule | task states | ends in | on failure | lane | limit | steps |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for one in OPERATIONS.values():
        cells = [
            f"**{one.name}**: {(one.__doc__ or '').strip()}",
            one.wire or "",
            f"`{one.policy}`",
            ", ".join(_task_states(one)) or "none",
            one.leads_to or "as it was",
            one.on_failure or "as it was",
            one.lane,
            f"{one.limit.total_seconds() / 60:g} min",
            ", ".join(step.name for step in one.steps),
        ]
        yield "| " + " | ".join(str(cell) for cell in cells) + " |"


def _task_states(operation: type[Operation]) -> list[str]:
    ordered = [operation.during, *(step.task_state for step in operation.steps)]
    return list(dict.fromkeys(str(state) for state in ordered if state))


def _states() -> Iterator[str]:
    names = list(OPERATIONS)
    yield "| vm_state | " + " | ".join(names) + " |"
    yield "|---|" + "---|" * len(names)
    for state in VmState:
        dots = ["•" if state in OPERATIONS[name].allowed else "" for name in names]
        yield f"| {state} | " + " | ".join(dots) + " |"
