"""Fencing a host: how it is switched off from afar, doing it, and taking an administrator's word."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError
from compute.hosts import fence_methods, fencing
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action, admin_page
from portal.dashboard.views.one_host import find_host

BY_HAND = ("", "By hand alone")


class FenceForm(forms.Form):
    """A method of the file, and what it asks for: a field for each value."""

    method = forms.ChoiceField(required=False)
    timeout = forms.IntegerField(
        min_value=fencing.LEAST_SECONDS,
        max_value=fencing.MOST_SECONDS,
        label="Time that it has",
        help_text="Seconds. If the host is not confirmed to be off by then, it is not fenced.",
    )

    def __init__(self, *args: Any, methods: dict[str, fence_methods.Method], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["method"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [BY_HAND, *((name, name) for name in sorted(methods))]
        self.methods = methods
        for name in sorted({name for one in methods.values() for name in one.asks_for}):
            asking = ", ".join(one.name for one in methods.values() if name in one.asks_for)
            self.fields[f"value_{name}"] = forms.CharField(
                label=name, required=False, max_length=fence_methods.VALUE_CAP, help_text=f"Asked for by {asking}."
            )

    def values(self) -> dict[str, str]:
        """Those that the chosen method asks for."""
        method = self.methods.get(self.cleaned_data["method"])
        asked = method.asks_for if method else []
        return {name: given for name in asked if (given := self.cleaned_data.get(f"value_{name}"))}


@admin_page
def settings_of(request: PortalRequest, host_id: int) -> HttpResponse:
    """How it is switched off from afar."""
    found = find_host(host_id)
    problem = ""
    try:
        methods = fence_methods.methods()
    except fence_methods.NoMethod as error:
        methods, problem = {}, str(error)
    first = {"method": found.fence_method, "timeout": found.fence_timeout}
    first |= {f"value_{name}": value for name, value in found.fence_values.items()}
    form = FenceForm(request.POST if request.method == "POST" else None, initial=first, methods=methods)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            fencing.set_fence(
                request.actor, found, method=given["method"], values=form.values(), timeout=given["timeout"]
            )
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Saved how {found.name} is fenced")
            return redirect("host", found.pk)
    values = [form[name] for name in form.fields if name.startswith("value_")]
    context = {"host": found, "form": form, "values": values, "problem": problem}
    return render(request, "hosts/fence.html", context, status=400 if form.errors else 200)


@admin_action
def fence(request: PortalRequest, host_id: int) -> HttpResponse:
    """By its method, or (``how`` is ``word``) by the word of whoever asks; ``how`` ``lift`` takes it back."""
    found, how = find_host(host_id), request.POST.get("how", "")
    try:
        if how == "lift":
            fencing.unfence(request.actor, found)
            messages.success(request, f"{found.name} is fenced no more")
        elif how == "word":
            fencing.confirm_off(request.actor, found)
            messages.success(request, f"{found.name} is fenced: its instances may be started elsewhere")
        else:
            fencing.fence(request.actor, found)
            messages.success(request, f"{found.name} is being switched off")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, f"/cloud/hosts/{host_id}/", stay=True)
