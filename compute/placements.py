"""Why an instance is where it is, for whoever may know how much; and where one would go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from compute import quota, server_groups
from compute.capacity import rooms_by_zone
from compute.errors import Invalid
from compute.models import Action, Flavor, Image, Instance, ServerGroup
from compute.operations.create import FORCED_HOST, REQUESTED_HOST, check_where, usable_image
from compute.operations.worker import without_hosts
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce
from scheduler.pick import Evaluation, Group, Request, evaluate

# Who may read why a server is where it is, who may ask where one would go, and who may see hosts' names in either.
EXPLAIN, DRY_RUN, SEE_HOSTS = "nacelle:placement", "nacelle:dry-run", "nacelle:hosts"


@dataclass(frozen=True)
class Verdicts:
    """What a filter did: how many hosts went in and came out, and those refused that were written down."""

    name: str
    into: int
    out: int
    refused: list[dict[str, str]]  # {"host", "filter", "why"}


@dataclass(frozen=True)
class Explained:
    """One placement. What names hosts is empty for who may not see them."""

    action: Action
    sentence: str
    considered: int
    filters: list[Verdicts]
    sees_hosts: bool
    chosen: str = ""
    finalists: list[dict[str, Any]] = field(default_factory=list)  # {"host", "weight", "parts"}
    notes: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # of hosts that were tried

    @property
    def found(self) -> bool:
        """Whether a host was chosen."""
        return bool(self.action.progress["placement"]["chosen"])

    @property
    def refused(self) -> list[Verdicts]:
        """The filters that refused a host."""
        return [one for one in self.filters if one.out < one.into]


def explained(actor: Actor, action: Action) -> Explained | None:
    """Why an operation chose its host, or none; None for one that chose none. Asks the database nothing."""
    raw = action.progress.get("placement")
    if raw is None:
        return None
    sees_hosts = allows(actor, SEE_HOSTS)
    rejected = raw["rejected"] if sees_hosts else []
    filters = [
        Verdicts(one["name"], one["into"], one["out"], [why for why in rejected if why["filter"] == one["name"]])
        for one in raw["filters"]
    ]
    sentence = _sentence(raw, action, sees_hosts)
    if not sees_hosts:
        return Explained(action, sentence, raw["considered"], filters, sees_hosts)
    lost = [why for why in rejected if why["filter"] not in {one.name for one in filters}]
    if lost:
        filters.append(Verdicts("Claim", len(raw["weights"]), len(raw["weights"]) - len(lost), lost))
    failures = action.progress.get("failures", {})
    return Explained(
        action,
        sentence,
        raw["considered"],
        filters,
        True,
        raw["chosen"],
        raw["weights"],
        raw.get("notes", []),
        failures,
    )


def _sentence(raw: dict[str, Any], action: Action, sees_hosts: bool) -> str:
    """The outcome in one sentence; a failure's is the action's own, which says what was short."""
    if not raw["chosen"]:
        return action.message or "No host could take it."
    chosen = raw["chosen"] if sees_hosts else "A host"
    fitting = raw["filters"][-1]["out"] if raw["filters"] else raw["considered"]
    hosts = "1 host" if raw["considered"] == 1 else f"{raw['considered']} hosts"
    return f"{chosen} was chosen: of {hosts}, {fitting} could take it."


def placements_of(actor: Actor, instance: Instance) -> list[Explained]:
    """The placements of an instance, the newest first. Raises Forbidden."""
    enforce(actor, EXPLAIN, instance.project_id)
    found = (explained(actor, action) for action in instance.actions.filter(progress__has_key="placement"))
    return [one for one in found if one is not None]


@dataclass(frozen=True)
class Wish:
    """What a dry run is about: instances that nobody asks for yet."""

    flavor_id: str
    image_id: str = ""
    zone: str = ""
    host: str = ""
    forced: bool = False
    count: int = 1
    hints: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outlook:
    """Where so many would go, and how many fit. ``quota_leaves`` None: the quota has no limit."""

    count: int
    fitting: int
    by_zone: dict[str, int]
    sentence: str
    quota_leaves: int | None
    evaluation: Evaluation

    @property
    def fits(self) -> bool:
        """Whether the hosts have room for all of them."""
        return self.fitting >= self.count


def dry_run(actor: Actor, wish: Wish) -> Outlook:
    """Where instances would go now, and how many fit; nothing is claimed, no host is asked.

    Raises Forbidden, and Invalid for what the wish names wrongly.
    """
    enforce(actor, DRY_RUN, actor.project_id)
    if actor.project_id is None:
        raise Invalid("A server belongs to a project; the token is not scoped to one.")
    flavor = Flavor.objects.visible_to(actor).filter(pk=wish.flavor_id, disabled=False).first()
    if flavor is None:
        raise Invalid(f"Flavor {wish.flavor_id} could not be found.", about="flavor")
    found = evaluate(_request(actor, wish, flavor))
    sentence = _outlook(found, wish.count)
    if not allows(actor, SEE_HOSTS):
        sentence = without_hosts(sentence)
    left = quota.leaves(actor.project_id, flavor)
    return Outlook(wish.count, found.total, rooms_by_zone(found), sentence, left, found)


def _request(actor: Actor, wish: Wish, flavor: Flavor) -> Request:
    assert actor.project_id is not None
    group = _group(actor, wish.hints.get(server_groups.HINT))
    if wish.host:
        enforce(actor, FORCED_HOST if wish.forced else REQUESTED_HOST)
    check_where(host=wish.host, zone=wish.zone)
    return Request.of_flavor(
        flavor,
        project_id=actor.project_id,
        image=_image(actor, wish, flavor),
        zone=wish.zone,
        host=wish.host,
        forced=wish.forced,
        group=Group.of(group) if group else None,
        hints=wish.hints,
    )


def _image(actor: Actor, wish: Wish, flavor: Flavor) -> Image | None:
    return usable_image(actor, wish.image_id, flavor.memory_mb, flavor.disk_gb) if wish.image_id else None


def _group(actor: Actor, group_id: object) -> ServerGroup | None:
    if not group_id:
        return None
    try:
        found = ServerGroup.objects.filter(pk=UUID(str(group_id)), project_id=actor.project_id).first()
    except ValueError:
        found = None
    if found is None:
        raise Invalid(f"Instance group {group_id} could not be found.", about="server_group")
    return found


def _outlook(found: Evaluation, count: int) -> str:
    if not found.total:
        return found.explanation.sentence()
    if found.total < count:
        return f"{found.total} of {count} fit now."
    return f"{found.total} fit now." if count == 1 else f"All {count} fit; room is for {found.total}."
