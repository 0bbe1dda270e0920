"""Host aggregates and the availability zones that they make, for administrators."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute import aggregates as verbs
from compute.errors import ComputeError, NotFound
from compute.images.deliver import deliver
from compute.models import EVACUATE_AFTER_KEY, EVACUATE_KEY, ZONE_KEY, Aggregate, Host, Image, ImageStatus, Instance
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action, admin_page

# Items of the metadata that have a place of their own, with their own checks.
OWN_KEYS = frozenset({ZONE_KEY, EVACUATE_KEY, EVACUATE_AFTER_KEY})
MOST_SECONDS = 86_400


def plain_text(value: str) -> None:
    """Refuse what no name holds. Raises forms.ValidationError."""
    if not value.isprintable():
        raise forms.ValidationError("Only printable characters.")


def no_colon(value: str) -> None:
    """A colon parts a zone from a host. Raises forms.ValidationError."""
    if ":" in value:
        raise forms.ValidationError("A zone's name holds no colon.")


class AggregateForm(forms.Form):
    """A name, and the zone that it makes of its hosts."""

    name = forms.CharField(
        max_length=255, validators=[plain_text], error_messages={"required": "Give the aggregate a name."}
    )
    zone = forms.CharField(
        max_length=255,
        required=False,
        validators=[plain_text, no_colon],
        label="Availability zone",
        help_text="Empty: it makes no zone of its hosts.",
    )


class MetadataForm(forms.Form):
    """One item that the scheduler's filters read."""

    key = forms.RegexField(
        r"^[a-zA-Z0-9\-_:. ]{1,255}$",
        max_length=255,
        error_messages={"required": "Enter a key.", "invalid": "Letters, digits, spaces and -_:. only."},
    )
    value = forms.CharField(max_length=255, required=False, validators=[plain_text])

    def clean_key(self) -> str:
        """The zone has its own place, with its own checks."""
        key: str = self.cleaned_data["key"]
        if key == ZONE_KEY:
            raise forms.ValidationError("The zone is changed by Edit.")
        if key in OWN_KEYS:
            raise forms.ValidationError("It has a place of its own on this page.")
        return key


class EvacuationForm(forms.Form):
    """Whether hosts of it that fail are evacuated by themselves."""

    evacuates = forms.BooleanField(required=False)
    after = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MOST_SECONDS,
        label="Seconds that a host must be down",
        widget=forms.NumberInput(attrs={"placeholder": settings.AUTO_EVACUATE_AFTER_SECONDS}),
    )


@admin_page
def aggregates(request: PortalRequest) -> HttpResponse:
    """All aggregates, and the zones."""
    rows = Aggregate.objects.prefetch_related("hosts").order_by("name")
    return render(request, "aggregates/list.html", {"aggregates": rows, "zones": _zones()})


def _zones() -> list[dict[str, Any]]:
    """Each zone with its hosts that take new instances, and its instances."""
    hosts = Host.objects.values("zone").annotate(all=Count("id"), taking=Count("id", filter=Q(enabled=True)))
    instances = dict(
        Instance.objects.alive()
        .exclude(host=None)
        .order_by()
        .values("host__zone")
        .annotate(count=Count("id"))
        .values_list("host__zone", "count")
    )
    return [{**zone, "instances": instances.get(zone["zone"], 0)} for zone in hosts.order_by("zone")]


def _aggregate(aggregate_id: int) -> Aggregate:
    found = Aggregate.objects.filter(pk=aggregate_id).first()
    if found is None:
        raise NotFound(f"Aggregate {aggregate_id} could not be found.")
    return found


@admin_page
def aggregate(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """One aggregate with its hosts and metadata."""
    return _page(request, _aggregate(aggregate_id), MetadataForm())


def _page(request: PortalRequest, found: Aggregate, form: MetadataForm) -> HttpResponse:
    hosts = list(found.hosts.order_by("name").prefetch_related("deliveries__image"))
    context = {
        "aggregate": found,
        "hosts": hosts,
        "others": Host.objects.exclude(pk__in=[host.pk for host in hosts]).order_by("name"),
        "items": sorted((key, value) for key, value in found.metadata.items() if key not in OWN_KEYS),
        "evacuation": EvacuationForm(
            initial={"evacuates": found.evacuates, "after": found.metadata.get(EVACUATE_AFTER_KEY)}
        ),
        "form": form,
        "images": Image.objects.visible_to(request.actor).filter(status=ImageStatus.ACTIVE).order_by("name", "id"),
    }
    return render(request, "aggregates/detail.html", context, status=400 if form.errors else 200)


@admin_page
def create(request: PortalRequest) -> HttpResponse:
    """A new aggregate."""
    form = AggregateForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        name, zone = form.cleaned_data["name"], form.cleaned_data["zone"]
        try:
            made = verbs.create_aggregate(request.actor, name=name, zone=zone or None)
        except ComputeError as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"Created the aggregate {made.name}")
            return redirect("aggregate", made.pk)
    return render(request, "aggregates/form.html", {"form": form}, status=400 if form.errors else 200)


@admin_page
def edit(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """Another name or zone."""
    found = _aggregate(aggregate_id)
    first = {"name": found.name, "zone": found.zone or ""}
    form = AggregateForm(request.POST if request.method == "POST" else None, initial=first)
    if request.method == "POST" and form.is_valid():
        given = {"name": form.cleaned_data["name"], "zone": form.cleaned_data["zone"] or None}
        changes = {name: given[name] for name in form.changed_data}
        try:
            verbs.update_aggregate(request.actor, found, changes=changes)
        except ComputeError as error:
            form.add_error("zone" if getattr(error, "about", "") == "zone" else "name", str(error))
        else:
            messages.success(request, f"Saved {found.name}")
            return redirect("aggregate", found.pk)
    context = {"form": form, "aggregate": found}
    return render(request, "aggregates/form.html", context, status=400 if form.errors else 200)


@admin_action
def delete(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """Delete one that has no host."""
    found = _aggregate(aggregate_id)
    try:
        verbs.delete_aggregate(request.actor, found)
    except ComputeError as error:
        answers.refused(request, error)
        return answers.done(request, f"/cloud/aggregates/{aggregate_id}/")
    messages.success(request, f"Deleted the aggregate {found.name}")
    return answers.done(request, "aggregates")


@admin_action
def add_host(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """Put a host in."""
    found, host = _aggregate(aggregate_id), request.POST.get("host", "")
    try:
        verbs.add_host(request.actor, found, host=host)
    except ComputeError as error:
        answers.refused(request, error)
    else:
        messages.success(request, f"{host} is in {found.name}")
    return redirect("aggregate", found.pk)


@admin_action
def remove_host(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """Take a host out."""
    found, host = _aggregate(aggregate_id), request.POST.get("host", "")
    try:
        verbs.remove_host(request.actor, found, host=host)
    except ComputeError as error:
        answers.refused(request, error)
    else:
        messages.success(request, f"{host} has left {found.name}")
    return answers.done(request, f"/cloud/aggregates/{found.pk}/")


@admin_action
def bring_images(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """Bring an image to all hosts, ahead of the boots that need it."""
    found = _aggregate(aggregate_id)
    try:
        deliver(request.actor, found, image_ids=[UUID(request.POST.get("image", ""))])
    except ValueError:
        messages.error(request, "Choose an image.")
    except ComputeError as error:
        answers.refused(request, error)
    else:
        messages.success(request, "The image is on its way.")
    return redirect("aggregate", found.pk)


@admin_action
def set_metadata(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """Set one item."""
    found, form = _aggregate(aggregate_id), MetadataForm(request.POST)
    if not form.is_valid():
        return _page(request, found, form)
    verbs.set_metadata(request.actor, found, items={form.cleaned_data["key"]: form.cleaned_data["value"]})
    messages.success(request, f"Set {form.cleaned_data['key']}")
    return redirect("aggregate", found.pk)


@admin_action
def remove_metadata(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """Take one item away."""
    found, key = _aggregate(aggregate_id), request.POST.get("key", "")
    if key in found.metadata and key not in OWN_KEYS:
        verbs.set_metadata(request.actor, found, items={key: None})
        messages.success(request, f"Removed {key}")
    return answers.done(request, f"/cloud/aggregates/{found.pk}/")


@admin_action
def set_evacuation(request: PortalRequest, aggregate_id: int) -> HttpResponse:
    """Whether hosts of it that fail are evacuated by themselves, and when."""
    found, form = _aggregate(aggregate_id), EvacuationForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"The time is a number of seconds, {MOST_SECONDS} at the most.")
        return redirect("aggregate", found.pk)
    wanted, after = form.cleaned_data["evacuates"], form.cleaned_data["after"]
    items = {EVACUATE_KEY: "true" if wanted else None, EVACUATE_AFTER_KEY: None if after is None else str(after)}
    verbs.set_metadata(request.actor, found, items=items)
    told = "are evacuated by themselves when they fail" if wanted else "are evacuated by hand alone"
    messages.success(request, f"Hosts of {found.name} {told}")
    return redirect("aggregate", found.pk)
