"""What a flavor asks of a host's make."""

from __future__ import annotations

from functools import partial

from scheduler.attributes import OF_MAKE, value_of
from scheduler.filters.base import Filter, by_make
from scheduler.hoststate import HostView
from scheduler.operators import matches
from scheduler.request import Request
from scheduler.scene import Scene

SCOPE = "capabilities"


class ComputeCapabilitiesFilter(Filter):
    """The host's attributes are as the flavor's extra specs say."""

    sentence = "Keeps hosts whose attributes match the flavor's extra specs (capabilities:… and those without a scope)."
    short = "another make than the flavor asks for"

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that match every one."""
        for path, wanted in asked(request):
            if path[0] in OF_MAKE:
                hosts = by_make(hosts, partial(_is, scene, path, wanted))
            else:
                hosts = [host for host in hosts if _is(scene, path, wanted, host)]
        return hosts

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """The first that does not match."""
        path, wanted = next(one for one in asked(request) if not _is(scene, *one, host))
        value = value_of(host, scene, path)
        has = "does not have it" if value is None else "has others" if isinstance(value, frozenset) else f"has {value}"
        return f"{has}: the flavor asks for {':'.join(path)} {wanted}"


def asked(request: Request) -> list[tuple[list[str], str]]:
    """(path of the attribute, what is wanted) for each extra spec that is this filter's."""
    found = []
    for key, wanted in request.extra_specs.items():
        scope, *rest = key.split(":")
        if not rest:
            found.append(([scope], wanted))
        elif scope == SCOPE:
            found.append((rest, wanted))
    return found


def _is(scene: Scene, path: list[str], wanted: str, host: HostView) -> bool:
    value = value_of(host, scene, path)
    return value is not None and matches(value, wanted)
