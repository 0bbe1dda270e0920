"""Error pages: what happened, what to do, and the request id by which an administrator finds it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from portal.dashboard.fragments import wanted
from portal.requestid import current


def _page(request: HttpRequest, status: int, title: str, sentence: str) -> HttpResponse:
    request_id = current().request_id
    if wanted(request):
        return JsonResponse({"message": sentence, "request_id": request_id}, status=status)
    context = {"status": status, "title": title, "sentence": sentence, "request_id": request_id}
    return render(request, "errors/error.html", context, status=status)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: also for what belongs to another project."""
    return _page(
        request,
        404,
        "Not found",
        "There is nothing at this address, or it was deleted, or it belongs to another project.",
    )


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: a role is missing."""
    return _page(request, 403, "Not allowed", "Your role in this project does not allow that.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 of a form whose token is missing or old."""
    return _page(
        request,
        403,
        "This form is out of date",
        "Nothing was changed. Go back, reload the page and send the form again; cookies must be allowed.",
    )


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400."""
    return _page(request, 400, "Bad request", "The server did not understand the request; nothing was changed.")


def server_error(request: HttpRequest) -> HttpResponse:
    """500."""
    return _page(
        request,
        500,
        "Something went wrong",
        "This is our fault, not yours. An administrator finds the reason in the log by the request id below.",
    )
