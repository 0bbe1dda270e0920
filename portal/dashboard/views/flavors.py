"""Flavors: the list and each one for everybody; create, describe, share, specify and delete for administrators."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from compute.errors import ComputeError, NotFound
from compute.extra_specs import SPECS, check_known
from compute.flavors import (
    add_access,
    create_flavor,
    delete_extra_spec,
    delete_flavor,
    remove_access,
    set_description,
    set_extra_specs,
)
from compute.models import Flavor, Instance
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action, admin_page, page
from portal.identity.models import Project

LARGEST = 2_147_483_647
# As the API takes them; "create" is the address of the form.
FLAVOR_ID = re.compile(r"^(?!create\Z)[a-zA-Z0-9._-]([a-zA-Z0-9. _-]{0,253}[a-zA-Z0-9._-])?\Z")
SPEC_KEY = re.compile(r"^[a-zA-Z0-9\-_:. ]{1,255}\Z")


class DescriptionForm(forms.Form):
    """The one thing of a flavor that may change."""

    description = forms.CharField(max_length=65_535, required=False)


class FlavorForm(DescriptionForm):
    """A size. The fields carry the model's names."""

    name = forms.CharField(max_length=255, error_messages={"required": "Give the flavor a name."})
    flavor_id = forms.RegexField(
        FLAVOR_ID,
        required=False,
        label="Id",
        help_text="Empty: one is made up",
        error_messages={"invalid": "Letters, digits, dots, hyphens and underscores; not 'create'."},
    )
    vcpus = forms.IntegerField(min_value=1, max_value=LARGEST, initial=1, label="vCPUs")
    memory_mb = forms.IntegerField(min_value=1, max_value=LARGEST, initial=1024, label="Memory, MiB")
    disk_gb = forms.IntegerField(
        min_value=0, max_value=LARGEST, initial=10, label="Disk, GiB", help_text="0: as large as the image"
    )
    ephemeral_gb = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=LARGEST,
        initial=0,
        label="Ephemeral disk, GiB",
        help_text="A second, empty disk",
    )
    swap_mb = forms.IntegerField(required=False, min_value=0, max_value=LARGEST, initial=0, label="Swap disk, MiB")
    rxtx_factor = forms.FloatField(
        required=False,
        min_value=0.000001,
        max_value=3.4e38,
        initial=1.0,
        label="RX/TX factor",
        help_text="Noted; nothing heeds it",
    )
    is_public = forms.BooleanField(required=False, initial=True, label="Every project may use it")


class SpecForm(forms.Form):
    """One extra spec."""

    key = forms.RegexField(
        SPEC_KEY,
        error_messages={"required": "Name the spec.", "invalid": "Letters, digits, blanks and - _ : . only."},
        widget=forms.TextInput(attrs={"list": "known-specs", "placeholder": "hw:cpu_policy", "spellcheck": "false"}),
    )
    value = forms.CharField(max_length=255, error_messages={"required": "Give it a value."})

    def clean(self) -> dict[str, Any]:
        """Known names say what they can."""
        given = super().clean() or {}
        if "key" in given and "value" in given:
            try:
                check_known({given["key"]: given["value"]})
            except ComputeError as error:
                self.add_error("value", str(error))
        return given


class AccessForm(forms.Form):
    """A project that may use it."""

    project = forms.ChoiceField(error_messages={"required": "Choose a project."})

    def __init__(self, projects: list[Project], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].choices = [(one.pk, one.name) for one in projects]  # type: ignore[attr-defined]  # a choice field


@page
def flavors(request: PortalRequest) -> HttpResponse:
    """The flavors that the project may use."""
    rows = Flavor.objects.visible_to(request.actor)
    if not request.actor.is_admin:
        rows = rows.filter(disabled=False)
    return render(request, "flavors/list.html", {"flavors": rows})


@admin_page
def create(request: PortalRequest) -> HttpResponse:
    """A new flavor."""
    form = FlavorForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        given = {name: value for name, value in form.cleaned_data.items() if value not in ("", None)}
        try:
            made = create_flavor(request.actor, flavor_id=given.pop("flavor_id", None), **given)
        except ComputeError as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"Created the flavor {made.name}")
            return redirect("flavor", made.pk)
    return render(request, "flavors/create.html", {"form": form}, status=400 if form.errors else 200)


@page
def flavor(request: PortalRequest, flavor_id: str) -> HttpResponse:
    """One flavor: its size, its extra specs, and for administrators who may use it."""
    found = _flavor(request, flavor_id)
    return _detail(request, found)


@admin_action
def describe(request: PortalRequest, flavor_id: str) -> HttpResponse:
    """Say something else of it."""
    found = _flavor(request, flavor_id)
    form = DescriptionForm(request.POST)
    if not form.is_valid():
        return _detail(request, found, description=form)
    set_description(request.actor, found, description=form.cleaned_data["description"] or None)
    messages.success(request, "Saved")
    return redirect("flavor", found.pk)


@admin_action
def set_spec(request: PortalRequest, flavor_id: str) -> HttpResponse:
    """Add an extra spec, or change it."""
    found = _flavor(request, flavor_id)
    form = SpecForm(request.POST)
    if not form.is_valid():
        return _detail(request, found, spec=form)
    set_extra_specs(request.actor, found, specs={form.cleaned_data["key"]: form.cleaned_data["value"]})
    messages.success(request, f"Set {form.cleaned_data['key']}")
    return redirect("flavor", found.pk)


@admin_action
def remove_spec(request: PortalRequest, flavor_id: str) -> HttpResponse:
    """Take an extra spec off."""
    found = _flavor(request, flavor_id)
    try:
        delete_extra_spec(request.actor, found, key=request.GET.get("key", ""))
        messages.success(request, "Removed")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, reverse("flavor", args=[found.pk]))


@admin_action
def give(request: PortalRequest, flavor_id: str) -> HttpResponse:
    """Let a project use it."""
    found = _flavor(request, flavor_id)
    form = AccessForm(_others(found), request.POST)
    if not form.is_valid():
        return _detail(request, found, access=form)
    try:
        add_access(request.actor, found, project_id=form.cleaned_data["project"])
        messages.success(request, "The project may use it now.")
    except ComputeError as error:
        answers.refused(request, error)
    return redirect("flavor", found.pk)


@admin_action
def take_away(request: PortalRequest, flavor_id: str, project_id: str) -> HttpResponse:
    """Let a project use it no more."""
    found = _flavor(request, flavor_id)
    try:
        remove_access(request.actor, found, project_id=project_id)
        messages.success(request, "The project may use it no more.")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, reverse("flavor", args=[found.pk]))


@admin_action
def delete(request: PortalRequest, flavor_id: str) -> HttpResponse:
    """Delete a flavor; instances keep their copy of it."""
    found = _flavor(request, flavor_id)
    delete_flavor(request.actor, found)
    messages.success(request, f"Deleted the flavor {found.name}")
    return answers.done(request, "flavors")


def _flavor(request: PortalRequest, flavor_id: str) -> Flavor:
    """The flavor, if the actor may use it. Raises NotFound."""
    rows = Flavor.objects.visible_to(request.actor)
    found = (rows if request.actor.is_admin else rows.filter(disabled=False)).filter(pk=flavor_id).first()
    if found is None:
        raise NotFound(f"Flavor {flavor_id} could not be found.")
    return found


def _others(found: Flavor) -> list[Project]:
    """The projects that may not use it yet."""
    return list(Project.objects.exclude(pk__in=found.access.values("project_id")).order_by("name", "pk"))


def _detail(request: PortalRequest, found: Flavor, **forms_given: forms.Form) -> HttpResponse:
    """The page; a form that was refused comes back with the reason."""
    context: dict[str, Any] = {"flavor": found, "specs": sorted(found.extra_specs.items())}
    if request.actor.is_admin:
        projects = [] if found.is_public else _others(found)
        context |= {
            "description_form": forms_given.get("description") or DescriptionForm(initial=_said(found)),
            "spec_form": forms_given.get("spec") or SpecForm(),
            "access_form": forms_given.get("access") or AccessForm(projects),
            "access": list(found.access.select_related("project").order_by("project__name", "project_id")),
            "known": sorted(SPECS),
            "instances": Instance.objects.alive().filter(flavor__id=found.pk).count(),
        }
    return render(request, "flavors/detail.html", context, status=400 if forms_given else 200)


def _said(found: Flavor) -> dict[str, str]:
    return {"description": found.description or ""}
