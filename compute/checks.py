"""System checks (`manage.py check`): what an operation must say of itself, and a setting that must be readable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def operations_are_whole(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Every operation is listed, documented, and names a declared policy rule and real steps."""
    from compute.operations import OPERATIONS
    from compute.operations.engine import Operation
    from portal.identity.policy import rules

    errors: list[CheckMessage] = []
    unlisted = {cls for cls in _descendants(Operation) if "name" in vars(cls)} - set(OPERATIONS.values())
    errors += [Error(f"{cls.__name__} is not in OPERATIONS", id="compute.E001") for cls in unlisted]
    for operation in OPERATIONS.values():
        if not operation.__doc__:
            errors.append(Error(f"{operation.__name__} has no docstring", id="compute.E002"))
        if operation.policy not in rules():
            errors.append(Error(f"{operation.__name__}: no policy rule {operation.policy}", id="compute.E003"))
        if not operation.steps:
            errors.append(Error(f"{operation.__name__} has no steps", id="compute.E004"))
    return errors


def _descendants(cls: type[Any]) -> Iterator[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


@register()
def trusted_hosts_are_addresses(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """NACELLE_TRUSTED_HOSTS holds addresses and networks alone: a name could lead anywhere tomorrow."""
    from compute.hypervisor.ways import trusted_networks

    try:
        trusted_networks(settings.TRUSTED_HOSTS)
    except ValueError as error:
        return [Error(f"NACELLE_TRUSTED_HOSTS: {error}", id="compute.E005")]
    return []
