"""What answers one action of a server, and the two ways to make one from an operation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.http import Http404
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from compute.models import Instance
from compute.operations.engine import Operation
from compute.operations.engine import request as request_operation
from portal.api.compute.base import ComputeView
from portal.api.versions import between
from portal.api.wire import HeadersOnly

# What one gets: the view (its version, its actor), the server of the path, and the value of the action's key.
# The first line of a handler's docstring is its line in the table of actions.
Answer = Response | HeadersOnly
Handler = Callable[[ComputeView, Instance, Any], Answer]


def plain(operation: type[Operation], status: int = 202) -> Handler:
    """The handler of an operation that takes no parameters. What its key holds is not looked at, as in Nova."""

    def handle(view: ComputeView, instance: Instance, argument: Any) -> Answer:
        request_operation(operation, instance, view.actor)
        return HeadersOnly(status)

    handle.__doc__ = operation.__doc__
    return handle


def in_versions(handler: Handler, since: str = "2.1", until: str | None = None) -> Handler:
    """The same handler, which outside of these versions is not there (404)."""

    @functools.wraps(handler)
    def handle(view: ComputeView, instance: Instance, argument: Any) -> Answer:
        if not between(view.version, since, until):
            raise Http404(f"API version '{view.version}' is not supported on this method.")
        return handler(view, instance, argument)

    return handle


def object_of(value: Any, name: str) -> dict[str, Any]:
    """The value of a key that must be an object. Raises ValidationError."""
    if not isinstance(value, dict):
        raise ValidationError(f"Invalid input for field/attribute {name}. It must be an object.")
    return value
