"""The filters and weighers that there are: the field's, and a site's own by their dotted paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from django.conf import settings

from scheduler.filters import FILTERS, Filter, HostFilter
from scheduler.models import Part, PartKind
from scheduler.options import BadOption, Option
from scheduler.weighers import WEIGHERS, HostWeigher, Weigher

Made = Filter | Weigher
BUILT_IN: dict[str, dict[str, type[Any]]] = {
    PartKind.FILTER: {one.__name__: one for one in FILTERS},
    PartKind.WEIGHER: {one.__name__: one for one in WEIGHERS},
}
_BASES: dict[str, tuple[type[Any], type[Any]]] = {
    PartKind.FILTER: (Filter, HostFilter),
    PartKind.WEIGHER: (Weigher, HostWeigher),
}


class BadPart(ValueError):
    """What a dotted path names is no filter or weigher; the sentence says why."""


@dataclass
class Setting:
    """One part with what is said of it. ``problem``: why it cannot be used; then it is left out."""

    kind: str
    name: str
    enabled: bool
    made_of: type[Any] | None = None
    multiplier: float | None = None  # None: the default
    options: dict[str, Any] = field(default_factory=dict)  # those given
    problem: str = ""

    @property
    def is_foreign(self) -> bool:
        """Whether it is a site's own."""
        return "." in self.name

    @property
    def essential(self) -> bool:
        """Whether it cannot be off."""
        return bool(not self.is_foreign and self.kind == PartKind.FILTER and self.made_of and self.made_of.essential)

    @property
    def sentence(self) -> str:
        """What it does."""
        if self.made_of is None:
            return ""
        return str(self.made_of.sentence or (self.made_of.__doc__ or "").strip().split("\n")[0])

    @property
    def declared(self) -> tuple[Option, ...]:
        """Its options."""
        return self.made_of.options if self.made_of else ()

    @property
    def usual_multiplier(self) -> float | None:
        """A weigher's default."""
        return float(self.made_of.multiplier) if self.made_of and self.kind == PartKind.WEIGHER else None

    @property
    def multiplier_now(self) -> float | None:
        """A weigher's multiplier."""
        return self.usual_multiplier if self.multiplier is None else self.multiplier

    @property
    def options_now(self) -> dict[str, Any]:
        """All its options with their values."""
        return {one.name: self.options.get(one.name, one.default) for one in self.declared}

    def make(self) -> Made:
        """The object that decides. Raises BadOption, and whatever a site's own raises."""
        assert self.made_of is not None
        if self.kind == PartKind.FILTER:
            made: Made = self.made_of(self.options)
        else:
            made = self.made_of(self.options, self.multiplier)
        return made


def load(kind: str, path: str) -> type[Any]:
    """The class that a dotted path names. Raises BadPart, whatever is wrong with it."""
    module_name, dot, class_name = path.rpartition(".")
    if not dot or not all(part.isidentifier() for part in path.split(".")):
        raise BadPart(f"{path} is no dotted path of a class, such as site_filters.RackFilter.")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise BadPart(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    base, simple = _BASES[kind]
    if not isinstance(found, type):
        raise BadPart(f"{module_name} has no class {class_name}.")
    if not issubclass(found, base):
        raise BadPart(f"{path} is no {kind}: it is not derived from {simple.__module__}.{simple.__name__}.")
    if found.__module__.startswith("scheduler."):
        raise BadPart(f"{path} is one of Nacelle's own; it has the name {class_name}.")
    _try(kind, path, found)
    return found


def _try(kind: str, path: str, found: type[Any]) -> None:
    works, simple = ("keep", "passes") if kind == PartKind.FILTER else ("weigh", "weight")
    base, simple_base = _BASES[kind]
    if getattr(found, works) is getattr(base, works) or (
        getattr(found, works) is getattr(simple_base, works) and getattr(found, simple) is getattr(simple_base, simple)
    ):
        raise BadPart(f"{path} has neither {works}() nor {simple}().")
    try:
        found()
    except Exception as error:
        raise BadPart(f"{path} cannot be made: {type(error).__name__}: {error}") from error


def named_in_settings(kind: str) -> list[str]:
    """The dotted paths that the site's settings name."""
    return list(settings.SCHEDULER_FILTERS if kind == PartKind.FILTER else settings.SCHEDULER_WEIGHERS)


def setting(kind: str, name: str, *, row: Part | None = None) -> Setting:
    """A part by its name, as its row says or else as usual."""
    found = Setting(kind, name, enabled=row.enabled if row else True)
    if row is not None:
        found.multiplier, found.options = row.multiplier, dict(row.options)
    try:
        found.made_of = BUILT_IN[kind].get(name) or load(kind, name)
        found.enabled = found.essential or (row.enabled if row else found.is_foreign or bool(found.made_of.default))
        found.make()
    except (BadPart, BadOption) as error:
        found.problem = str(error)
    except Exception as error:
        found.problem = f"{name} cannot be made: {type(error).__name__}: {error}"
    return found


def every(kind: str) -> list[Setting]:
    """All parts of a kind, in the order in which they are asked."""
    rows = list(Part.objects.filter(kind=kind))
    known = {row.name for row in rows}
    others = [name for name in (*BUILT_IN[kind], *named_in_settings(kind)) if name not in known]
    return [setting(kind, row.name, row=row) for row in rows] + [setting(kind, name) for name in dict.fromkeys(others)]
