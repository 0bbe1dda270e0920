"""Who may open a page: the actor of a session, and the decorators of views."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.views.decorators.http import require_POST

from portal.dashboard.fragments import HEADER
from portal.dashboard.views import errors
from portal.identity.actor import Actor, actor_on_project
from portal.identity.models import Project, User
from portal.requestid import identify

PROJECT_KEY = "project_id"
P = ParamSpec("P")


class PortalRequest(HttpRequest):
    """A request whose user is logged in and has a role on ``actor``'s project."""

    user: User  # anybody else was sent to the login page
    actor: Actor
    projects: list[Project]


PageView = Callable[Concatenate[PortalRequest, P], HttpResponse]
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def projects_of(user: User) -> list[Project]:
    """The projects that a user may work in, by name."""
    rows = Project.objects.filter(assignments__user=user, enabled=True, domain__enabled=True)
    return list(rows.select_related("domain").distinct().order_by("name", "id"))


def actor_in(user: User, projects: list[Project], wanted: str | None) -> Actor | None:
    """The actor on the project that is wanted, or else on the default one, or else on the first."""
    order = {wanted: 0, user.default_project_id: 1}
    for project in sorted(projects, key=lambda one: order.get(one.id, 2)):
        if actor := actor_on_project(user, project):
            return actor
    return None


def _identified(request: HttpRequest) -> bool:
    """Fill in the request's actor; False when the user has no role anywhere."""
    user = request.user
    assert isinstance(user, User)
    projects = projects_of(user)
    actor = actor_in(user, projects, request.session.get(PROJECT_KEY))
    request.projects, request.actor = projects, actor  # type: ignore[attr-defined]  # see PortalRequest
    if actor is None:
        return False
    identify(actor.user_name, actor.project_name)
    return True


def page(view: PageView[P]) -> View[P]:
    """A view for whoever is logged in and has a role on a project. Its answers are never cached."""

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            raise Http404("Nothing has NUL in its name, and PostgreSQL cannot be asked for it.")
        if not request.user.is_authenticated:
            return _to_login(request)
        if not _identified(request):
            return render(request, "no_project.html", status=403)
        response = view(request, *args, **kwargs)  # type: ignore[arg-type]  # it is a PortalRequest now
        patch_vary_headers(response, [HEADER])
        add_never_cache_headers(response)
        return response

    return guarded


def _to_login(request: HttpRequest) -> HttpResponse:
    """To the login page and back; a script of ours is told with a 401 instead."""
    if HEADER in request.headers:
        return HttpResponse(status=401)
    back = request.get_full_path() if request.method == "GET" else "/"
    return redirect_to_login(back)


def admin_page(view: PageView[P]) -> View[P]:
    """A view for administrators of the cloud."""

    @wraps(view)
    def guarded(request: PortalRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not request.actor.is_admin:
            return errors.forbidden(request)
        return view(request, *args, **kwargs)

    return page(guarded)


def action(view: PageView[P]) -> View[P]:
    """A view that changes something: POST alone, with the CSRF token that Django's middleware asks for."""
    return require_POST(page(view))


def admin_action(view: PageView[P]) -> View[P]:
    """A view that changes something of the cloud."""
    return require_POST(admin_page(view))
