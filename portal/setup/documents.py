"""Documents that are derived from the code: `manage.py document` writes them, a test compares them."""

from __future__ import annotations

from collections.abc import Callable

from compute.operations.describe import operations_document
from portal.api.compute.actions import actions_document
from portal.api.compute.microversions import microversions_document
from portal.api.table import calls_document
from portal.identity.policy import rules

BEGIN = "<!-- derived: {name} -->"
END = "<!-- end of what is derived -->"


def policy_document() -> str:
    """Every policy rule with the role that it asks for."""
    lines = ["# Policy", "", "Derived from the policy tables; `manage.py document` writes it.", ""]
    lines += ["| rule | least role | what it allows |", "|---|---|---|"]
    lines += [f"| `{rule.name}` | {rule.role} | {rule.sentence} |" for rule in rules().values()]
    return "\n".join([*lines, ""])


def replace_section(text: str, name: str, content: str) -> str:
    """The text with what stands between the marks of a section replaced. Raises ValueError without marks."""
    begin = BEGIN.format(name=name)
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValueError(f"the marks of the section {name} are missing")
    return f"{before}{begin}\n{content}\n{END}{after}"


CALLS_ARE = (
    "Every call that is served, derived from the paths and the views; `manage.py document` writes it. "
    "The second column says from which microversion on a call is there, or between which two."
)
ACTIONS = "## The actions of `POST /compute/v2.1/servers/{server_id}/action`"

# A document's path, and what it shall be, given what it is.
DOCUMENTS: dict[str, Callable[[str], str]] = {
    "docs/operations.md": lambda _: operations_document(),
    "docs/policy.md": lambda _: policy_document(),
    "docs/microversions.md": lambda _: microversions_document(),
    "docs/calls.md": lambda _: f"# Calls\n\n{CALLS_ARE}\n\n{calls_document()}\n\n{ACTIONS}\n\n{actions_document()}\n",
}
