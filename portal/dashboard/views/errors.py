"""Error pages."""

from django.http import HttpRequest, HttpResponse


def server_error(request: HttpRequest) -> HttpResponse:
    """500."""
    return HttpResponse("error", status=500)
