"""The page that a console URL opens. The token in it is the right; nobody needs to be logged in."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from compute.models import Instance
from consoleproxy import tokens
from portal.dashboard.fragments import wanted
from portal.dashboard.middleware import nonce_for_styles

KINDS: dict[str, tokens.Kind] = {"novnc": "novnc", "serial": "serial"}


@never_cache
@require_safe
def console(request: HttpRequest) -> HttpResponse:
    """The screen or the serial console, or a sentence that says why not."""
    kind = KINDS.get(request.GET.get("kind", "novnc"))
    if kind is None:
        return _answer(request, {"refusal": "There is no such kind of console."}, 404)
    token = request.GET.get("token", "")
    try:
        grant = tokens.authorise(token, kind)
    except tokens.Refused as refusal:
        return _answer(request, {"refusal": str(refusal)}, 403)
    instance = Instance.objects.get(pk=grant.instance_id)
    context = {"kind": kind, "name": instance.name, "url": tokens.websocket_url(token, kind)}
    return _answer(request, context, 200)


def _answer(request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
    """The page, or for our script just why the console does not open."""
    if wanted(request):
        return JsonResponse({"refusal": context.get("refusal", "")}, status=status)
    if context.get("kind") == "serial":
        context["style_nonce"] = nonce_for_styles(request)
    return render(request, "console.html", context, status=status)
