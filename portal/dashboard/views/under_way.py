"""Cancelling what is under way with an instance."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.urls import reverse

from compute.errors import ComputeError
from compute.operations.cancellation import cancel_action
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action
from portal.dashboard.views.instances import instance_of


@action
def cancel(request: PortalRequest, instance_id: UUID, request_id: str) -> HttpResponse:
    """Cancel what a request asked of it."""
    instance = instance_of(request.actor, instance_id)
    try:
        cancel_action(request.actor, instance, request_id)
        messages.success(request, "It is being cancelled.")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, reverse("instance", args=[instance.pk]), stay=True)
