"""Changing one's own password."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpResponse
from django.shortcuts import redirect, render

from portal.dashboard.access import PortalRequest, page
from portal.identity.backend import PASSWORD_MAX_LENGTH
from portal.identity.errors import IdentityError, Unauthorized
from portal.identity.users import change_password

SHORTEST = 8


def _password(**kwargs: Any) -> forms.CharField:
    return forms.CharField(max_length=PASSWORD_MAX_LENGTH, strip=False, widget=forms.PasswordInput, **kwargs)


class PasswordForm(forms.Form):
    """The old one, and the new one twice."""

    original = _password(label="Password now")
    new = _password(label="New password", min_length=SHORTEST)
    again = _password(label="New password again")

    def clean_again(self) -> str:
        """Typed the same twice."""
        again: str = self.cleaned_data["again"]
        if "new" in self.cleaned_data and again != self.cleaned_data["new"]:
            raise forms.ValidationError("This is not the same.")
        return again


@page
def password(request: PortalRequest) -> HttpResponse:
    """The form. This session goes on; all tokens, and other sessions, end."""
    form = PasswordForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            change_password(request.user, form.cleaned_data["original"], form.cleaned_data["new"])
        except Unauthorized:
            form.add_error("original", "That is not your password.")
        except IdentityError as error:
            form.add_error(None, str(error))
        else:
            update_session_auth_hash(request, request.user)
            messages.success(request, "Your password is changed.")
            return redirect("overview")
    return render(request, "password.html", {"form": form}, status=400 if form.errors else 200)
