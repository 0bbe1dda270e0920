"""Adding, changing and removing hosts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError
from compute.hosts.checks import check_host
from compute.hosts.editing import edit_host
from compute.hosts.findings import Severity
from compute.hosts.registration import add_host
from compute.hosts.removal import remove_host
from compute.hosts.tls_script import tls_script
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action, admin_page
from portal.dashboard.views.one_host import find_host

DOMAIN_TYPES = [("", "As the host's processor can"), ("kvm", "kvm"), ("qemu", "qemu")]


class HostForm(forms.Form):
    """A URI is all that a host needs."""

    uri = forms.CharField(
        max_length=255, label="Libvirt URI", error_messages={"required": "Enter the host's libvirt URI."}
    )
    name = forms.CharField(max_length=255, required=False, help_text="Empty: the host's own name")
    domain_type = forms.ChoiceField(required=False, choices=DOMAIN_TYPES, label="Virtualisation")


class HostEditForm(forms.Form):
    """What may change of a host. The order is that of the page."""

    name = forms.CharField(max_length=255)
    uri = forms.CharField(max_length=255, label="Libvirt URI", help_text="Another way to the same machine.")
    console_address = forms.CharField(
        max_length=255,
        help_text="Where the screens of guests listen, from their next start on. The console proxy must reach it.",
    )
    migration_address = forms.CharField(
        max_length=255,
        required=False,
        help_text="Where other hosts reach it, for guests that go there while they run. Empty: as its URI says.",
    )
    domain_type = forms.ChoiceField(
        required=False, choices=DOMAIN_TYPES, label="Virtualisation", help_text="For guests from their next start on."
    )
    cpu_ratio = forms.FloatField(min_value=0, label="vCPUs")
    memory_ratio = forms.FloatField(min_value=0, label="Memory")
    disk_ratio = forms.FloatField(min_value=0, label="Disk")
    reserved_memory_mb = forms.IntegerField(min_value=0, label="Memory, MiB")
    reserved_disk_gb = forms.IntegerField(min_value=0, label="Disk, GiB")


def _refused(form: forms.Form, error: ComputeError, fallback: str) -> None:
    about = getattr(error, "about", "")
    form.add_error(about if about in form.fields else fallback, str(error))


@admin_page
def add(request: PortalRequest) -> HttpResponse:
    """Register a host."""
    form = HostForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = add_host(request.actor, **form.cleaned_data)
        except ComputeError as error:
            _refused(form, error, "uri")
        else:
            messages.success(request, f"{made.name} is ready for instances.")
            return redirect("host", made.pk)
    return render(request, "hosts/add.html", {"form": form}, status=400 if form.errors else 200)


@admin_action
def make_tls_script(request: PortalRequest) -> HttpResponse:
    """The script that lets this cloud in to a host over TLS, to save and run there."""
    try:
        script = tls_script(request.actor, request.POST.get("address", ""))
    except ComputeError as error:
        answers.refused(request, error)
        return redirect("host_add")
    return answers.download("nacelle-tls-setup.sh", script)


@admin_page
def edit(request: PortalRequest, host_id: int) -> HttpResponse:
    """Change a host."""
    found = find_host(host_id)
    first: dict[str, Any] = {name: getattr(found, name) for name in HostEditForm.base_fields}
    form = HostEditForm(request.POST if request.method == "POST" else None, initial=first)
    if request.method == "POST" and form.is_valid():
        try:
            edit_host(request.actor, found, {name: form.cleaned_data[name] for name in form.changed_data})
        except ComputeError as error:
            _refused(form, error, "name" if "name" in form.changed_data else "uri")
        else:
            messages.success(request, f"Saved {form.cleaned_data['name']}")
            return redirect("host", found.pk)
    return render(request, "hosts/edit.html", {"form": form, "host": found}, status=400 if form.errors else 200)


@admin_action
def check(request: PortalRequest, host_id: int) -> HttpResponse:
    """Look at a host again; its page shows what was found."""
    found = find_host(host_id)
    try:
        findings = check_host(request.actor, found)
    except ComputeError as error:
        answers.refused(request, error)
    else:
        wrong = sum(one.severity != Severity.INFO for one in findings)
        messages.success(request, f"Checked {found.name}: {wrong or 'nothing'} to look at")
    return answers.done(request, f"/cloud/hosts/{host_id}/", stay=True)


@admin_action
def remove(request: PortalRequest, host_id: int) -> HttpResponse:
    """Remove a host that has no instances."""
    found = find_host(host_id)
    try:
        remove_host(request.actor, found)
    except ComputeError as error:
        answers.refused(request, error)
        return answers.done(request, f"/cloud/hosts/{host_id}/")
    messages.success(request, f"Removed {found.name}. The machine was left as it is.")
    return answers.done(request, "hosts")
