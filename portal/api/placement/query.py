"""Placement's query language: resources, traits that are required or forbidden, aggregates to be a member of."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from rest_framework.exceptions import ParseError

from compute.hosts.traits import STANDARD, traits_of
from compute.models import Host
from portal.api.compute.base import as_uuid
from portal.api.placement.base import PlacementView
from portal.api.placement.stock import STANDARD_CLASSES, Stock

MOST_DIGITS = 10
Alternatives = list[frozenset[str]]


@dataclass
class Wanted:
    """What a provider must be. ``any_traits`` and ``any_of``: one at least of each set."""

    resources: dict[str, int] = field(default_factory=dict)
    any_traits: Alternatives = field(default_factory=list)
    no_traits: frozenset[str] = frozenset()
    any_of: Alternatives = field(default_factory=list)
    none_of: frozenset[str] = frozenset()
    tree: UUID | None = None

    def fits(self, host: Host, stock: dict[str, Stock]) -> bool:
        """Whether a host is that. Its aggregates must be prefetched."""
        if self.tree is not None and host.uuid != self.tree:
            return False
        if any(name not in stock or not stock[name].has(amount) for name, amount in self.resources.items()):
            return False
        return self._has_traits(host) and self._is_member(host)

    def _has_traits(self, host: Host) -> bool:
        if not (self.any_traits or self.no_traits):
            return True
        traits = traits_of(host)
        return not (traits & self.no_traits) and all(traits & one for one in self.any_traits)

    def _is_member(self, host: Host) -> bool:
        if not (self.any_of or self.none_of):
            return True
        aggregates = {str(one.uuid) for one in host.aggregates.all()}
        return not (aggregates & self.none_of) and all(aggregates & one for one in self.any_of)


def wanted(view: PlacementView, suffix: str = "") -> Wanted:
    """What a group of query parameters asks for; ``suffix`` ends the names of a numbered group. Raises ParseError."""
    query = view.request.query_params
    any_traits, no_traits = traits(view, f"required{suffix}")
    any_of, none_of = aggregates(view, query.getlist(f"member_of{suffix}"))
    tree = view.only(f"in_tree{suffix}")
    text = view.only(f"resources{suffix}")
    return Wanted(
        resources=amounts(text) if text is not None else {},
        any_traits=any_traits,
        no_traits=no_traits,
        any_of=any_of,
        none_of=none_of,
        tree=uuid_of(tree, f"in_tree{suffix}") if tree is not None else None,
    )


def uuid_of(text: str, name: str) -> UUID:
    """A uuid of the query. Raises ParseError."""
    key = as_uuid(text)
    if key is None:
        raise ParseError(f"Invalid query string parameters: {name} must be a uuid.")
    return key


def amounts(text: str) -> dict[str, int]:
    """``VCPU:2,MEMORY_MB:512``. Raises ParseError."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, colon, number = part.partition(":")
        digits = number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS
        if not (colon and digits and int(number)) or name in found:
            raise ParseError(
                "Badly formed resources parameter. Expected resources query string parameter in form: "
                f"?resources=VCPU:2,MEMORY_MB:1024. Got: {text[:200]}."
            )
        if name not in STANDARD_CLASSES:
            raise ParseError(f"Invalid resource class in resources parameter: {name[:200]}")
        found[name] = int(number)
    return found


def traits(view: PlacementView, name: str) -> tuple[Alternatives, frozenset[str]]:
    """Traits that are required, and forbidden ones (``!T``, 1.22+). ``in:A,B`` is one of them (1.39+)."""
    values = view.request.query_params.getlist(name)
    if len(values) > 1 and not view.at("1.39"):
        raise ParseError(f"The query parameter {name} may be given only once.")
    required: Alternatives = []
    forbidden: set[str] = set()
    for value in values:
        if value.startswith("in:") and view.at("1.39"):
            required.append(frozenset(_known(value.removeprefix("in:"), name)))
            continue
        for one in _known(value, name, negated=view.at("1.22")):
            if one.startswith("!"):
                forbidden.add(one[1:])
            else:
                required.append(frozenset({one}))
    if clash := sorted(forbidden & {one for group in required if len(group) == 1 for one in group}):
        raise ParseError(f"Conflicting required and forbidden traits found: {', '.join(clash)}")
    return required, frozenset(forbidden)


def _known(value: str, name: str, *, negated: bool = False) -> list[str]:
    parts = [part.strip() for part in value.split(",")]
    if unknown := sorted(
        {part for part in parts if (part[1:] if negated and part[:1] == "!" else part) not in STANDARD}
    ):
        raise ParseError(f"No such trait(s): {', '.join(one[:200] for one in unknown)} (in {name}).")
    return parts


def aggregates(view: PlacementView, values: list[str]) -> tuple[Alternatives, frozenset[str]]:
    """Aggregates to be a member of: ``A`` or ``in:A,B``; repeated from 1.24, ``!A`` and ``!in:A,B`` from 1.32."""
    if len(values) > 1 and not view.at("1.24"):
        raise ParseError("The query parameter member_of may be given only once.")
    member: Alternatives = []
    none: set[str] = set()
    for value in values:
        negated = value.startswith("!") and view.at("1.32")
        plain = value[1:] if negated else value
        texts = plain.removeprefix("in:").split(",") if plain.startswith("in:") else [plain]
        keys = {str(uuid_of(text, "member_of")) for text in texts}
        if negated:
            none |= keys
        else:
            member.append(frozenset(keys))
    return member, frozenset(none)
