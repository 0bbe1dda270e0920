"""API access: the endpoints, and files that let the user's own clients in. No password is ever in them."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render

from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, page
from portal.identity.bootstrap import CLOUD, Access, admin_openrc, clouds_yaml

ENDPOINTS = (
    ("Identity", "Keystone v3", "/identity/v3"),
    ("Compute", "Nova v2.1", "/compute/v2.1"),
    ("Image", "Glance v2", "/image"),
    ("Network", "Neutron v2.0", "/network"),
    ("Nacelle", "our own additions", "/nacelle/v1"),
)


def _access(request: PortalRequest) -> Access:
    """How the user gets to the current project, without the password."""
    project = next(one for one in request.projects if one.id == request.actor.project_id)
    return Access(
        username=request.user.name,
        password=None,
        project_name=project.name,
        user_domain_name=request.user.domain.name,
        project_domain_name=project.domain.name,
    )


@page
def api_access(request: PortalRequest) -> HttpResponse:
    """Where the APIs are and how to log in to them."""
    endpoints = [(name, what, settings.PUBLIC_URL + path) for name, what, path in ENDPOINTS]
    access = _access(request)
    context = {"endpoints": endpoints, "access": access, "cloud": CLOUD, "clouds_yaml": clouds_yaml(access)}
    return render(request, "access.html", context)


@page
def openrc(request: PortalRequest) -> HttpResponse:
    """A file to source in a shell; it asks for the password."""
    return answers.download("nacelle-openrc.sh", admin_openrc(_access(request)))


@page
def clouds(request: PortalRequest) -> HttpResponse:
    """A clouds.yaml."""
    return answers.download("clouds.yaml", clouds_yaml(_access(request)))
