"""Server groups: instances that belong together, or apart."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute import quota
from compute.errors import ComputeError, Invalid, NotFound
from compute.models import GroupPolicy, Instance, ServerGroup
from compute.server_groups import RULE, create_group, delete_group
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page
from portal.dashboard.views.aggregates import plain_text
from portal.identity.policy import allows

# What each policy does, in words.
POLICIES = {
    GroupPolicy.AFFINITY: "all on one host",
    GroupPolicy.ANTI_AFFINITY: "each on a host of its own",
    GroupPolicy.SOFT_AFFINITY: "on one host, as far as it goes",
    GroupPolicy.SOFT_ANTI_AFFINITY: "on hosts of their own, as far as it goes",
}


class GroupForm(forms.Form):
    """A name and one policy, for good."""

    name = forms.CharField(
        max_length=255, validators=[plain_text], error_messages={"required": "Give the group a name."}
    )
    policy = forms.ChoiceField(
        choices=[(policy.value, f"{policy.value}: {words}") for policy, words in POLICIES.items()],
        initial=GroupPolicy.ANTI_AFFINITY,
    )
    max_server_per_host = forms.IntegerField(
        min_value=1,
        max_value=2_147_483_647,
        required=False,
        label="At most so many on a host",
        help_text="For anti-affinity alone; empty: one.",
    )


@page
def server_groups(request: PortalRequest) -> HttpResponse:
    """The project's groups, and a form for another."""
    return _page(request, GroupForm())


def _page(request: PortalRequest, form: GroupForm) -> HttpResponse:
    project_id = request.actor.project_id or ""
    living = Count("instances", filter=Q(instances__deleted_at=None))
    rows = list(ServerGroup.objects.filter(project_id=project_id).annotate(members=living).order_by("name", "id"))
    context = {
        "groups": rows,
        "limit": quota.limits(project_id)["server_groups"],
        "form": form,
        "may_create": allows(request.actor, RULE + "create", project_id),
        "may_delete": allows(request.actor, RULE + "delete", project_id),
    }
    return render(request, "server_groups/list.html", context, status=400 if form.errors else 200)


@action
def add(request: PortalRequest) -> HttpResponse:
    """A new group."""
    form = GroupForm(request.POST)
    if not form.is_valid():
        return _page(request, form)
    try:
        made = create_group(request.actor, **form.cleaned_data)
    except ComputeError as error:
        about = error.about if isinstance(error, Invalid) else ""
        form.add_error(about if about in form.fields else None, str(error))
        return _page(request, form)
    messages.success(request, f"Created the server group {made.name}")
    return redirect("server_groups")


def _group(request: PortalRequest, group_id: UUID) -> ServerGroup:
    """The project's group, or any for an administrator, who gets here from an instance."""
    rows = ServerGroup.objects.all()
    if not request.actor.is_admin:
        rows = rows.filter(project_id=request.actor.project_id)
    found = rows.filter(pk=group_id).first()
    if found is None:
        raise NotFound(f"Server group {group_id} could not be found.")
    return found


@page
def server_group(request: PortalRequest, group_id: UUID) -> HttpResponse:
    """One group with its members."""
    found = _group(request, group_id)
    context = {
        "group": found,
        "words": POLICIES[GroupPolicy(found.policy)],
        "members": Instance.objects.alive().filter(server_group=found).select_related("host").order_by("name", "id"),
        "limit": quota.limits(found.project_id)["server_group_members"],
        "may_launch": allows(request.actor, "os_compute_api:servers:create", found.project_id),
        "may_delete": allows(request.actor, RULE + "delete", found.project_id),
    }
    return render(request, "server_groups/detail.html", context)


@action
def delete(request: PortalRequest, group_id: UUID) -> HttpResponse:
    """Delete a group; its instances stay where they are."""
    found = _group(request, group_id)
    delete_group(request.actor, found)
    messages.success(request, f"Deleted the server group {found.name}")
    return answers.done(request, "server_groups")
