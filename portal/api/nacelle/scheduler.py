"""The scheduler's settings: which filters and weighers are on, in which order, with what options."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import Invalid
from portal.api.body import Body, StrictBooleanField, StrictCharField
from portal.api.wire import ApiView, HeadersOnly
from portal.identity.policy import enforce
from scheduler import configuration, parts
from scheduler.configuration import RULE, Wish
from scheduler.models import PartKind

MOST_PARTS = 200


class StrictFloatField(serializers.FloatField):
    """A number, and only a number."""

    def to_internal_value(self, data: Any) -> float:
        """Refuse texts and booleans."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class FilterBody(Body):
    """What is wanted of a filter. ``options`` stand instead of all that were given before."""

    name = StrictCharField(max_length=255, help_text="The field's name, or the dotted path of a site's own.")
    enabled = StrictBooleanField(required=False)
    options = serializers.DictField(required=False)


class WeigherBody(FilterBody):
    """What is wanted of a weigher."""

    multiplier = StrictFloatField(required=False)


class SchedulerBody(Body):
    """The filters and the weighers in their order; those of Nacelle that are not named follow as they were."""

    filters = FilterBody(many=True, required=False)
    weighers = WeigherBody(many=True, required=False)


class Scheduler(ApiView):
    """/nacelle/v1/scheduler"""

    @extend_schema(operation_id="show_scheduler", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Show every filter and weigher in its order, with its options, and why one cannot be used."""
        enforce(self.actor, RULE)
        return Response(_shown())

    @extend_schema(operation_id="change_scheduler", request=SchedulerBody, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request) -> Response:
        """Set order, options and multipliers; all or nothing. A site's own that a list does not name goes."""
        enforce(self.actor, RULE)
        given = SchedulerBody.read(self.body)
        with transaction.atomic():
            for kind, key in ((PartKind.FILTER, "filters"), (PartKind.WEIGHER, "weighers")):
                if key in given:
                    configuration.replace(self.actor, kind, _wishes(given[key]))
            answer = _shown()
        return Response(answer)

    @extend_schema(operation_id="reset_scheduler", responses={204: None})
    def delete(self, request: Request) -> HeadersOnly:
        """Put everything back as it was delivered."""
        configuration.reset(self.actor)
        return HeadersOnly()


def _wishes(given: list[dict[str, Any]]) -> list[Wish]:
    if len(given) > MOST_PARTS:
        raise Invalid(f"There are at most {MOST_PARTS} filters and weighers.")
    return [Wish(**one) for one in given]


def _shown() -> dict[str, Any]:
    return {
        "filters": [_part(one) for one in parts.every(PartKind.FILTER)],
        "weighers": [_part(one) for one in parts.every(PartKind.WEIGHER)],
    }


def _part(one: parts.Setting) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": one.name,
        "enabled": one.enabled,
        "essential": one.essential,
        "description": one.sentence,
        "options": one.options_now,
        "problem": one.problem,
    }
    if one.kind == PartKind.WEIGHER:
        shown["multiplier"] = one.multiplier_now
    return shown
