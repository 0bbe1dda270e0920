"""The scheduler's settings, for administrators."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.aggregates import set_metadata
from compute.errors import ComputeError, NotFound
from compute.models import Aggregate
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action, admin_page
from scheduler import configuration, parts
from scheduler.configuration import Wish
from scheduler.models import PartKind
from scheduler.options import BadOption, Option
from scheduler.overrides import OVERRIDES
from scheduler.parts import Setting


class AddForm(forms.Form):
    """A site's own filter or weigher."""

    kind = forms.ChoiceField(choices=PartKind.choices)
    path = forms.CharField(
        max_length=255,
        label="Dotted path",
        help_text="Such as site_filters.RackFilter: a class that the workers can import.",
        error_messages={"required": "Enter the dotted path of a class."},
    )


class OverrideForm(forms.Form):
    """One number in an aggregate's metadata."""

    aggregate = forms.ModelChoiceField(Aggregate.objects.order_by("name"), empty_label=None)
    key = forms.ChoiceField(choices=[(key, key) for key in OVERRIDES], label="Setting")
    value = forms.CharField(max_length=64, required=False, help_text="Empty: not overridden any more.")

    def clean(self) -> dict[str, Any]:
        """The value must be one that counts."""
        given = super().clean() or {}
        if given.get("value") and "key" in given:
            try:
                OVERRIDES[given["key"]].check(given["value"])
            except BadOption as error:
                self.add_error("value", str(error))
        return given


class PartForm(forms.Form):
    """The options of one filter or weigher, and a weigher's multiplier."""

    def __init__(self, one: Setting, data: Any = None) -> None:
        super().__init__(data)
        if one.kind == PartKind.WEIGHER:
            least = getattr(one.made_of, "least_multiplier", None)
            below = "A negative one prefers the opposite." if least is None else f"It is at least {least:g}."
            said = f"The default is {one.usual_multiplier:g}. {below}"
            self.fields["multiplier"] = forms.FloatField(help_text=said, initial=one.multiplier_now)
        for option in one.declared:
            self.fields[option.name] = _field(option, one.options_now[option.name])


def _field(option: Option, value: Any) -> forms.Field:
    shared: dict[str, Any] = {"label": option.name, "help_text": option.sentence, "required": False, "initial": value}
    if option.kind == "flag":
        return forms.BooleanField(**shared)
    if option.kind == "integer":
        return forms.IntegerField(**shared | {"required": True})
    if option.kind == "number":
        return forms.FloatField(**shared | {"required": True})
    if option.kind == "list":
        shared |= {"initial": "\n".join(value), "widget": forms.Textarea(attrs={"rows": 4})}
        shared["help_text"] = f"{option.sentence} One a line."
    return forms.CharField(**shared)


@admin_page
def scheduler(request: PortalRequest) -> HttpResponse:
    """All filters and weighers."""
    return _page(request, AddForm(), OverrideForm())


def _page(request: PortalRequest, adding: AddForm, overriding: OverrideForm) -> HttpResponse:
    aggregates = list(Aggregate.objects.order_by("name"))
    context = {
        "kinds": [
            (kind, title, sentence, parts.every(kind))
            for kind, title, sentence in (
                (PartKind.FILTER.value, "Filters", "They are asked from the top; a host that one refuses is out."),
                (PartKind.WEIGHER.value, "Weighers", "Each adds its weight between 0 and 1, times its multiplier."),
            )
        ],
        "in_settings": [name for kind in PartKind.values for name in parts.named_in_settings(kind)],
        "adding": adding,
        "overriding": overriding,
        "aggregates": aggregates,
        "overrides": [
            (one, OVERRIDES[key], text)
            for one in aggregates
            for key, text in sorted(one.metadata.items())
            if key in OVERRIDES
        ],
    }
    status = 400 if adding.errors or overriding.errors else 200
    return render(request, "scheduler/list.html", context, status=status)


def _setting(kind: str, name: str) -> Setting:
    found = next((one for one in parts.every(kind) if one.name == name), None) if kind in PartKind.values else None
    if found is None:
        raise NotFound(f"The scheduler has no {name}.")
    return found


@admin_page
def part(request: PortalRequest, kind: str, name: str) -> HttpResponse:
    """The options of one."""
    one = _setting(kind, name)
    form = PartForm(one, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        given = dict(form.cleaned_data)
        wish = Wish(name, multiplier=given.pop("multiplier", None), options=given)
        try:
            configuration.change(request.actor, kind, wish)
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Saved {name}")
            return redirect("scheduler")
    return render(request, "scheduler/part.html", {"one": one, "form": form}, status=400 if form.errors else 200)


@admin_action
def turn(request: PortalRequest, kind: str, name: str) -> HttpResponse:
    """On or off."""
    _setting(kind, name)
    enabled = request.POST.get("enabled") == "yes"
    return _done(
        request,
        lambda: configuration.change(request.actor, kind, Wish(name, enabled=enabled)),
        f"{name} is {'on' if enabled else 'off'}",
    )


@admin_action
def move(request: PortalRequest, kind: str, name: str) -> HttpResponse:
    """One place up or down."""
    _setting(kind, name)
    by = -1 if request.POST.get("to") == "up" else 1
    return _done(request, lambda: configuration.move(request.actor, kind, name, by=by), f"Moved {name}")


@admin_action
def remove(request: PortalRequest, kind: str, name: str) -> HttpResponse:
    """Take a site's own away."""
    _setting(kind, name)
    return _done(request, lambda: configuration.remove(request.actor, kind, name), f"Removed {name}")


@admin_action
def reset(request: PortalRequest) -> HttpResponse:
    """Everything as delivered."""
    return _done(request, lambda: configuration.reset(request.actor), "The scheduler has its defaults again")


def _done(request: PortalRequest, do: Any, said: str) -> HttpResponse:
    try:
        do()
    except ComputeError as error:
        answers.refused(request, error)
    else:
        messages.success(request, said)
    return answers.done(request, "scheduler", stay=True)


@admin_action
def add(request: PortalRequest) -> HttpResponse:
    """Add a site's own."""
    form = AddForm(request.POST)
    if form.is_valid():
        try:
            configuration.add(request.actor, form.cleaned_data["kind"], form.cleaned_data["path"])
        except ComputeError as error:
            form.add_error("path", str(error))
        else:
            messages.success(request, f"Added {form.cleaned_data['path']}")
            return redirect("scheduler")
    return _page(request, form, OverrideForm())


@admin_action
def override(request: PortalRequest) -> HttpResponse:
    """Set one number of an aggregate, or take it away."""
    form = OverrideForm(request.POST)
    if not form.is_valid():
        return _page(request, AddForm(), form)
    given = form.cleaned_data
    items = {given["key"]: given["value"] or None}
    if given["value"] or given["key"] in given["aggregate"].metadata:
        set_metadata(request.actor, given["aggregate"], items=items)
    messages.success(request, f"{given['key']} of {given['aggregate'].name} is {given['value'] or 'not overridden'}")
    return redirect("scheduler")
