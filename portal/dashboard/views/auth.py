"""Logging in and out, and which project one works in."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from portal.dashboard.access import PROJECT_KEY, PortalRequest, action
from portal.dashboard.views import errors
from portal.identity.backend import PASSWORD_MAX_LENGTH


class LoginForm(forms.Form):
    """A name, a password, and the domain for those who are not in the default one."""

    name = forms.CharField(max_length=255, error_messages={"required": "Enter your user name."})
    password = forms.CharField(
        max_length=PASSWORD_MAX_LENGTH,
        strip=False,
        widget=forms.PasswordInput,
        error_messages={"required": "Enter your password.", "max_length": "That is too long for a password."},
    )
    domain = forms.CharField(max_length=64, required=False)

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.user: Any = None

    def clean(self) -> dict[str, Any]:
        """One sentence for a wrong name and a wrong password, so that it tells nobody which names exist."""
        given = self.cleaned_data
        if not self.errors:
            self.user = authenticate(
                self.request, username=given["name"], password=given["password"], domain=given["domain"] or "Default"
            )
            if self.user is None:
                raise forms.ValidationError("User name or password is wrong, or the user is disabled.")
        return given


def _safe_next(request: HttpRequest) -> str:
    """Where to go after the login: a path of this site, or the overview."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    inside = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None, require_https=request.is_secure())
    return wanted if inside and wanted.startswith("/") else "/"


@never_cache
def log_in(request: HttpRequest) -> HttpResponse:
    """The login page."""
    target = _safe_next(request)
    if request.user.is_authenticated:
        return HttpResponseRedirect(target)
    form = LoginForm(request, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        login(request, form.user)  # rotates the session's key
        return HttpResponseRedirect(target)
    return render(request, "login.html", {"form": form, "next": target}, status=400 if form.errors else 200)


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    """End the session, here and on the server."""
    logout(request)
    return redirect("login")


@action
def choose_project(request: PortalRequest) -> HttpResponse:
    """Work in another of one's projects."""
    wanted = request.POST.get("project", "")
    if wanted not in {project.id for project in request.projects}:
        return errors.not_found(request)
    request.session[PROJECT_KEY] = wanted
    return redirect("overview")
