"""Changing the scheduler's settings. Every process decides by the new ones from its next decision on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from django.db import transaction

from compute.errors import Conflict, Invalid, NotFound
from compute.models import announce
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from scheduler import parts
from scheduler.models import Part, PartKind, Revision
from scheduler.options import BadOption, clean
from scheduler.parts import BadPart, Setting

RULE = "nacelle:scheduler"
MOST_FOREIGN = 50


@dataclass(frozen=True)
class Wish:
    """What somebody wants of one part; None: as it is."""

    name: str
    enabled: bool | None = None
    multiplier: float | None = None
    options: dict[str, Any] | None = None
    usual: bool = field(default=False)  # first of all as the code says


def change(actor: Actor, kind: str, wish: Wish) -> None:
    """Turn a part on or off, or give it a multiplier or options. Raises NotFound and Invalid."""
    enforce(actor, RULE)
    _rewrite(kind, lambda settings: _wished(_found(settings, wish.name), wish))


def move(actor: Actor, kind: str, name: str, *, by: int) -> None:
    """Move a part by so many places; -1: one up. Raises NotFound."""
    enforce(actor, RULE)

    def moved(settings: list[Setting]) -> None:
        one = _found(settings, name)
        place = settings.index(one)
        settings.insert(min(max(0, place + by), len(settings) - 1), settings.pop(place))

    _rewrite(kind, moved)


def add(actor: Actor, kind: str, path: str) -> None:
    """Add a site's own filter or weigher by its dotted path, last and on. Raises Invalid and Conflict."""
    enforce(actor, RULE)
    _rewrite(kind, lambda settings: _added(settings, kind, path.strip()))


def remove(actor: Actor, kind: str, path: str) -> None:
    """Take a site's own away. Raises NotFound, and Conflict for one that cannot go."""
    enforce(actor, RULE)

    def removed(settings: list[Setting]) -> None:
        one = _found(settings, path)
        if not one.is_foreign or one.name in parts.named_in_settings(kind):
            raise Conflict(f"{path} cannot be taken away; turn it off instead.")
        settings.remove(one)

    _rewrite(kind, removed)


def replace(actor: Actor, kind: str, wishes: Iterable[Wish]) -> None:
    """Order and settings at once: those named, in this order, and after them Nacelle's own that are not named.

    A site's own that is not named goes. Raises Invalid, and then nothing has changed.
    """
    enforce(actor, RULE)

    def replaced(settings: list[Setting]) -> None:
        ordered: list[Setting] = []
        for wish in wishes:
            if wish.name in (one.name for one in ordered):
                raise Invalid(f"{wish.name} is named twice.")
            if wish.name not in (one.name for one in settings):
                _added(settings, kind, wish.name)
            one = _found(settings, wish.name)
            _wished(one, wish)
            ordered.append(one)
        kept = (one for one in settings if not one.is_foreign or one.name in parts.named_in_settings(kind))
        settings[:] = ordered + [one for one in kept if one not in ordered]

    _rewrite(kind, replaced)


def reset(actor: Actor) -> None:
    """Everything as the code says."""
    enforce(actor, RULE)
    with transaction.atomic():
        _turn()
        Part.objects.all().delete()


def _found(settings: list[Setting], name: str) -> Setting:
    found = next((one for one in settings if one.name == name), None)
    if found is None:
        raise NotFound(f"The scheduler has no {name[:255]}.")
    return found


def _added(settings: list[Setting], kind: str, path: str) -> None:
    if any(one.name == path for one in settings):
        raise Conflict(f"{path} is there already.")
    if sum(one.is_foreign for one in settings) >= MOST_FOREIGN or len(path) > 255:
        raise Invalid(f"There are at most {MOST_FOREIGN} of a site's own, with paths of at most 255 characters.")
    try:
        parts.load(kind, path)
    except BadPart as error:
        raise Invalid(str(error)) from error
    settings.append(parts.setting(kind, path))


def _wished(one: Setting, wish: Wish) -> None:
    if wish.enabled is False and one.essential:
        raise Invalid(f"{one.name} cannot be off: it carries out the request, or a claim asks for the same.")
    if wish.enabled is not None:
        one.enabled = wish.enabled
    if wish.usual:
        one.multiplier, one.options = None, {}
    if wish.multiplier is not None:
        one.multiplier = _multiplier(one, wish.multiplier)
    if wish.options is not None:
        try:
            clean(one.declared, wish.options)
            one.options = {
                option.name: value
                for option in one.declared
                if option.name in wish.options and (value := option.clean(wish.options[option.name])) != option.default
            }
            one.make()
        except BadOption as error:
            raise Invalid(f"{one.name}: {error}") from error


def _multiplier(one: Setting, given: float) -> float:
    least = getattr(one.made_of, "least_multiplier", None)
    if one.kind != PartKind.WEIGHER:
        raise Invalid(f"{one.name} is a filter and has no multiplier.")
    if not math.isfinite(given):
        raise Invalid(f"{one.name}: the multiplier is a number.")
    if least is not None and given < least:
        raise Invalid(f"{one.name}: the multiplier is at least {least:g}.")
    return given


def _rewrite(kind: str, how: Callable[[list[Setting]], None]) -> None:
    """Change the parts of a kind and write them all, one change after another."""
    with transaction.atomic():
        _turn()
        settings = parts.every(kind)
        how(settings)
        Part.objects.filter(kind=kind).delete()
        Part.objects.bulk_create(
            Part(
                kind=kind,
                name=one.name,
                enabled=one.enabled,
                position=position,
                multiplier=one.multiplier,
                options=one.options,
            )
            for position, one in enumerate(settings)
        )


def _turn() -> None:
    """A new revision, whose row makes others that change the settings wait."""
    Revision.objects.update_or_create(pk=1, defaults={"token": uuid4()})
    announce("scheduler", "settings")
