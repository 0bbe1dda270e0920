"""Key pairs: list, import, make (the private half is shown once), delete."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.core.validators import RegexValidator
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError, NotFound
from compute.keypairs import delete_key, generate_key, import_key
from compute.models import KeyPair
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page

# Nova's characters of a key pair's name (since 2.92).
_NAME = RegexValidator(r"\A[A-Za-z0-9@._ -]+\Z", "Letters, digits, spaces and @ . _ - only.")


class KeyPairForm(forms.Form):
    """A name, and the public key; without one a pair is made here."""

    name = forms.CharField(max_length=255, validators=[_NAME], error_messages={"required": "Give the key pair a name."})
    public_key = forms.CharField(required=False)


@page
def key_pairs(request: PortalRequest) -> HttpResponse:
    """The user's key pairs."""
    return _page(request, KeyPairForm())


def _page(request: PortalRequest, form: KeyPairForm) -> HttpResponse:
    rows = KeyPair.objects.filter(user_id=request.actor.user_id)
    context = {"key_pairs": rows, "form": form}
    return render(request, "key_pairs/list.html", context, status=400 if form.errors else 200)


@action
def add(request: PortalRequest) -> HttpResponse:
    """Import a public key, or make a pair and show its private half."""
    form = KeyPairForm(request.POST)
    if not form.is_valid():
        return _page(request, form)
    name, public_key = form.cleaned_data["name"], form.cleaned_data["public_key"]
    try:
        if public_key:
            pair = import_key(request.actor, name=name, public_key=public_key)
            messages.success(request, f"Imported {pair.name}")
            return redirect("key_pairs")
        pair, private = generate_key(request.actor, name=name)
    except ComputeError as error:
        form.add_error("public_key" if public_key and "Keypair data" in str(error) else "name", str(error))
        return _page(request, form)
    return render(request, "key_pairs/made.html", {"pair": pair, "private": private})


@action
def delete(request: PortalRequest, key_pair_id: int) -> HttpResponse:
    """Delete one's own key pair."""
    pair = KeyPair.objects.filter(pk=key_pair_id, user_id=request.actor.user_id).first()
    if pair is None:
        raise NotFound("There is no such key pair.")
    delete_key(request.actor, pair)
    messages.success(request, f"Deleted the key pair {pair.name}")
    return answers.done(request, "key_pairs")
