"""How views that change something answer: a redirect with a message, or JSON for our script."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import resolve_url

from compute.errors import ComputeError
from portal.dashboard.fragments import wanted


def done(request: HttpRequest, to: str, *, stay: bool = False) -> HttpResponse:
    """After a change. ``to``: a path or a view's name. ``stay``: the page is live and shows the change itself.

    The messages go with the redirect, or in the body when our script asked and stays where it is.
    """
    if not wanted(request):
        return HttpResponseRedirect(resolve_url(to))
    if not stay:
        return JsonResponse({"go": resolve_url(to)})
    told = [{"level": message.level_tag, "text": str(message)} for message in messages.get_messages(request)]
    return JsonResponse({"messages": told})


def download(name: str, text: str) -> HttpResponse:
    """A text to save as a file, which nobody on the way keeps."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store, private"}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)


def refused(request: HttpRequest, error: ComputeError) -> None:
    """Keep what a refusal says, for the page that comes next."""
    messages.error(request, str(error))
