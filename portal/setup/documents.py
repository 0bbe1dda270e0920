"""Documents that are derived from the code: `manage.py document` writes them, a test compares them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from compute.operations.describe import operations_document
from portal.api.compute.actions import actions_document
from portal.api.compute.microversions import microversions_document
from portal.api.table import calls_document, served_calls
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


def calls_summary() -> str:
    """The README's table: each API's resources, and how many calls of each are served."""
    counted: dict[tuple[str, str], Counter[str]] = {}
    for call in served_calls():
        api, *rest = call.path.strip("/").split("/")
        names = [part for part in rest if not part.startswith(("v2", "v3", "v1"))]
        counted.setdefault((api, names[0] if names else "versions"), Counter())[call.method] += 1
    lines = ["| API | resource | calls |", "|---|---|---|"]
    for (api, resource), methods in sorted(counted.items()):
        calls = ", ".join(f"{method} {count}" if count > 1 else method for method, count in sorted(methods.items()))
        lines.append(f"| {api} | {resource} | {calls} |")
    return "\n".join([*lines, "", "`docs/calls.md` lists each with its versions."])


CALLS_ARE = (
    "Every call that is served, derived from the paths and the views; `manage.py document` writes it. "
    "The second column says from which microversion on a call is there, or between which two."
)
ACTIONS = "## The actions of `POST /compute/v2.1/servers/{server_id}/action`"

# A document's path, and what it shall be, given what it is.
DOCUMENTS: dict[str, Callable[[str], str]] = {
    "README.md": lambda text: replace_section(text, "calls", calls_summary()),
    "docs/operations.md": lambda _: operations_document(),
    "docs/policy.md": lambda _: policy_document(),
    "docs/microversions.md": lambda _: microversions_document(),
    "docs/calls.md": lambda _: f"# Calls\n\n{CALLS_ARE}\n\n{calls_document()}\n\n{ACTIONS}\n\n{actions_document()}\n",
}
