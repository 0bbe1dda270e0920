"""Policy: which role a rule asks for, and whether an actor has it. The mechanism; no rules of its own.

Each part of Nacelle lists its rules in a table (``compute/policy.py`` and so on) with the field's
names (``os_compute_api:servers:create``), so that answers and documentation speak the same words.
An unknown rule is a programming error, never a permission.
"""

from __future__ import annotations

from dataclasses import dataclass

from portal.identity.actor import Actor


class Forbidden(Exception):
    """The actor lacks the role that the rule asks for (HTTP 403)."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        super().__init__(f"Policy doesn't allow {rule} to be performed.")


@dataclass(frozen=True)
class Rule:
    """``role`` is the least role; unless it is admin's, the target must be the actor's own project.

    Three more ways to be let in, for what belongs to no project: ``system_role`` held on the system,
    ``domain_role`` held on the target's domain, and ``owner``: the target is the
    actor's own user.
    """

    name: str
    role: str
    sentence: str
    system_role: str = ""
    domain_role: str = ""
    owner: bool = False


_rules: dict[str, Rule] = {}


def declare(*rules: Rule) -> None:
    """Add rules; a name may be declared once."""
    for rule in rules:
        if _rules.setdefault(rule.name, rule) != rule:
            raise ValueError(f"policy rule {rule.name} is declared twice")


def rules() -> dict[str, Rule]:
    """All rules declared so far, by name."""
    return dict(sorted(_rules.items()))


def allows(
    actor: Actor, name: str, project_id: str | None = None, *, user_id: str | None = None, domain_id: str | None = None
) -> bool:
    """Whether the actor may, on what belongs to this project, user or domain (None: to none in particular).

    Raises KeyError for a rule that nobody declared.
    """
    rule = _rules[name]
    if actor.is_admin or (rule.owner and user_id is not None and user_id == actor.user_id):
        return True
    if rule.system_role and actor.system and rule.system_role in actor.roles:
        return True
    if rule.domain_role and domain_id is not None and domain_id == actor.domain_id:
        return rule.domain_role in actor.roles
    return _by_role(actor, rule, project_id)


def _by_role(actor: Actor, rule: Rule, project_id: str | None) -> bool:
    if rule.role not in actor.roles or rule.role == "admin":
        return False
    return project_id is None or project_id == actor.project_id


def enforce(
    actor: Actor, name: str, project_id: str | None = None, *, user_id: str | None = None, domain_id: str | None = None
) -> None:
    """Raise Forbidden unless ``allows``."""
    if not allows(actor, name, project_id, user_id=user_id, domain_id=domain_id):
        raise Forbidden(name)
