"""Schedules of snapshots and backups: those of the project, and the forms of one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError, Invalid
from compute.models import Frequency, Instance, ScheduleKind, SnapshotSchedule, Weekday
from compute.operations import schedules
from compute.schedule_times import zone_names
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page
from portal.dashboard.views.instances import instance_of
from portal.identity.policy import allows, enforce

SHOWN = 500


class ScheduleForm(forms.Form):
    """When, what, and how many are kept. ``time`` is the time of day; of hourly ones its minute counts."""

    name = forms.CharField(max_length=100, error_messages={"required": "Give the schedule a name."})
    kind = forms.ChoiceField(choices=ScheduleKind.choices)
    memory = forms.BooleanField(required=False)
    frequency = forms.ChoiceField(choices=Frequency.choices)
    weekday = forms.TypedChoiceField(choices=Weekday.choices, coerce=int)
    time = forms.TimeField(widget=forms.TimeInput(format="%H:%M", attrs={"type": "time"}))
    time_zone = forms.CharField(max_length=64, widget=forms.TextInput(attrs={"list": "zones"}))
    keep = forms.IntegerField(min_value=1)
    enabled = forms.BooleanField(required=False)

    def fields_of_schedule(self) -> dict[str, Any]:
        """The fields of the model."""
        given = dict(self.cleaned_data)
        at = given.pop("time")
        return {**given, "hour": at.hour, "minute": at.minute}

    def refuse(self, error: ComputeError) -> None:
        """Show what a refusal says, at the field that it is about."""
        about = error.about if isinstance(error, Invalid) else ""
        field = {"hour": "time", "minute": "time"}.get(about, about)
        self.add_error(field if field in self.fields else None, str(error))


NEW = {"kind": "snapshot", "frequency": "daily", "weekday": 6, "time": "02:00", "time_zone": "UTC", "keep": 7}


@page
def project_schedules(request: PortalRequest) -> HttpResponse:
    """Those of all instances of the project."""
    actor = request.actor
    enforce(actor, schedules.GET, actor.project_id)
    rows = SnapshotSchedule.objects.visible_to(actor).filter(instance__deleted_at=None)
    rows = rows.select_related("instance", "last_action").order_by("instance__name", "name", "id")
    context = {
        "schedules": rows[:SHOWN],
        "may_schedule": allows(actor, schedules.MODIFY, actor.project_id),
        "all_of_project": True,
    }
    return render(request, "schedules/list.html", context)


@page
def add(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """A new one of an instance."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, schedules.MODIFY, instance.project_id)
    form = ScheduleForm(request.POST if request.method == "POST" else None, initial={**NEW, "enabled": True})
    if request.method == "POST" and form.is_valid():
        try:
            made = schedules.create_schedule(request.actor, instance, **form.fields_of_schedule())
        except ComputeError as error:
            form.refuse(error)
        else:
            messages.success(request, f"The schedule {made.name} is set up.")
            return redirect("instance_snapshots", instance.pk)
    return _form(request, instance, form, "New schedule")


@page
def edit(request: PortalRequest, instance_id: UUID, schedule_id: UUID) -> HttpResponse:
    """Change it."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, schedules.MODIFY, instance.project_id)
    found = schedules.find(request.actor, schedule_id, instance)
    now = {name: getattr(found, name) for name in schedules.CHANGEABLE - {"hour", "minute"}}
    now["time"] = f"{found.hour:02}:{found.minute:02}"
    form = ScheduleForm(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        try:
            schedules.update_schedule(request.actor, found, **_changed(found, form.fields_of_schedule()))
        except ComputeError as error:
            form.refuse(error)
        else:
            messages.success(request, "Saved")
            return redirect("instance_snapshots", instance.pk)
    return _form(request, instance, form, f"Edit {found.name}")


def _changed(found: SnapshotSchedule, given: dict[str, Any]) -> dict[str, Any]:
    """What is other than it was: only another time moves the next run."""
    return {name: value for name, value in given.items() if value != getattr(found, name)}


def _form(request: PortalRequest, instance: Instance, form: ScheduleForm, title: str) -> HttpResponse:
    context = {"instance": instance, "form": form, "title": title, "zones": zone_names()}
    return render(request, "schedules/form.html", context, status=400 if form.errors else 200)


@action
def switch(request: PortalRequest, instance_id: UUID, schedule_id: UUID) -> HttpResponse:
    """On, or off if it is on."""
    return _done(request, instance_id, schedule_id, delete=False)


@action
def delete(request: PortalRequest, instance_id: UUID, schedule_id: UUID) -> HttpResponse:
    """No more runs; what it made stays."""
    return _done(request, instance_id, schedule_id, delete=True)


def _done(request: PortalRequest, instance_id: UUID, schedule_id: UUID, *, delete: bool) -> HttpResponse:
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, schedules.MODIFY, instance.project_id)
    try:
        found = schedules.find(request.actor, schedule_id, instance)
        if delete:
            schedules.delete_schedule(request.actor, found)
            messages.success(request, f"Deleted the schedule {found.name}")
        else:
            now = schedules.update_schedule(request.actor, found, enabled=not found.enabled)
            messages.success(request, f"{found.name} is {'on' if now.enabled else 'off'}")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, "schedules", stay=True)
