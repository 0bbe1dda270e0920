"""Filters that read the metadata of a host's aggregates.

They ask each aggregate once, whatever the number of hosts.
"""

from __future__ import annotations

from collections.abc import Callable

from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.operators import matches
from scheduler.options import Option
from scheduler.request import Request
from scheduler.scene import Scene

EXTRA_SPECS_SCOPE = "aggregate_instance_extra_specs"
TENANT_KEY = "filter_tenant_id"


def entries(text: str) -> list[str]:
    """The entries of a list with commas."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def key_is(name: str) -> Callable[[str], bool]:
    """Whether a key is this one."""
    return lambda key: key == name


class AggregateInstanceExtraSpecsFilter(Filter):
    """An aggregate of the host has what the flavor's extra specs ask for."""

    sentence = (
        "Keeps hosts whose aggregates' metadata match the flavor's extra specs (aggregate_instance_extra_specs:…)."
    )
    short = "no aggregate as the flavor asks"
    options = (
        Option(
            "unscoped",
            "flag",
            False,
            "Ask for extra specs without a scope, too, as Nova does; ComputeCapabilitiesFilter asks for the same ones.",
        ),
    )

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that match every one."""
        for key, wanted in self._asked(request):
            good = scene.aggregates.having(key_is(key), _one_matches(wanted))
            hosts = [host for host in hosts if host.id in good]
        return hosts

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """The first that does not match."""
        for key, wanted in self._asked(request):
            values = scene.aggregates.values_on(host.id, key_is(key))
            if not any(_one_matches(wanted)(value) for value in values):
                has = f"has {key} {', '.join(values)}" if values else f"has no aggregate with {key}"
                return f"{has}, the flavor asks for {wanted}"
        raise AssertionError("why() is for hosts that were not kept")

    def _asked(self, request: Request) -> list[tuple[str, str]]:
        found = []
        for name, wanted in request.extra_specs.items():
            scope, colon, key = name.partition(":")
            if colon and scope == EXTRA_SPECS_SCOPE:
                found.append((key, wanted))
            elif not colon and self.chosen["unscoped"]:
                found.append((name, wanted))
        return found


def _one_matches(wanted: str) -> Callable[[str], bool]:
    return lambda value: any(matches(entry, wanted) for entry in entries(value))


class AggregateImagePropertiesIsolation(Filter):
    """The image's properties do not contradict the host's aggregates."""

    sentence = "Keeps hosts whose aggregates' metadata do not contradict the image's properties of the same names."
    short = "kept for other images"
    on_rebuild = True
    options = (
        Option("aggregate_image_properties_isolation_namespace", "text", "", "Only keys that begin with this count."),
        Option("aggregate_image_properties_isolation_separator", "text", ".", "What follows the namespace."),
    )

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that no aggregate keeps for other values."""
        for name, value in self._asked(request):
            isolated = scene.aggregates.having(key_is(name))
            if isolated:
                bad = isolated - scene.aggregates.having(key_is(name), _lists(value))
                hosts = [host for host in hosts if host.id not in bad]
        return hosts

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Both values."""
        for name, value in self._asked(request):
            values = scene.aggregates.values_on(host.id, key_is(name))
            if values and not any(_lists(value)(one) for one in values):
                return f"is kept for images with {name} {', '.join(values)}, this one has {value}"
        raise AssertionError("why() is for hosts that were not kept")

    def _asked(self, request: Request) -> list[tuple[str, str]]:
        namespace = self.chosen["aggregate_image_properties_isolation_namespace"]
        start = namespace + self.chosen["aggregate_image_properties_isolation_separator"] if namespace else ""
        return [(name, str(value)) for name, value in request.image_properties.items() if name.startswith(start)]


def _lists(value: str) -> Callable[[str], bool]:
    return lambda text: value in entries(text)


class AggregateMultiTenancyIsolation(Filter):
    """The host is not kept for other projects."""

    sentence = "Keeps hosts of aggregates with filter_tenant_id for the projects that are listed there."
    short = "kept for other projects"

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those kept for nobody, or for this project."""
        kept = scene.aggregates.having(_names_tenants)
        if not kept:
            return hosts
        bad = kept - scene.aggregates.having(_names_tenants, _lists(request.project_id))
        return [host for host in hosts if host.id not in bad]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Not for whom: that is their business."""
        return "is kept for other projects"


def _names_tenants(key: str) -> bool:
    return key.startswith(TENANT_KEY)


class AggregateTypeAffinityFilter(Filter):
    """The host is not kept for other flavors."""

    sentence = "Keeps hosts of aggregates with instance_type for the flavors that are listed there."
    short = "kept for other flavors"

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those kept for none, or for this flavor."""
        kept = scene.aggregates.having(key_is("instance_type"))
        if not kept:
            return hosts
        bad = kept - scene.aggregates.having(key_is("instance_type"), _lists(request.flavor_name))
        return [host for host in hosts if host.id not in bad]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """For which it is kept."""
        kept_for = ", ".join(scene.aggregates.values_on(host.id, key_is("instance_type")))
        return f"is kept for the flavors {kept_for}, not for {request.flavor_name}"
