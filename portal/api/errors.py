"""Errors on the wire: one handler, and for each API the body that its clients expect."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import IntegrityError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from compute import errors as compute
from portal.identity import errors as identity
from portal.identity.policy import Forbidden
from portal.requestid import current

log = logging.getLogger(__name__)

_NOVA_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
_STATUS_OF: tuple[tuple[type[Exception], int], ...] = (
    (compute.Invalid, 400),
    (compute.NotFound, 404),
    (compute.Conflict, 409),
    (compute.QuotaExceeded, 403),
    (compute.NotAllowed, 403),
    (compute.TooLarge, 413),
    (compute.NoMoreAddresses, 409),
    (compute.ComputeError, 500),
    (identity.Invalid, 400),
    (identity.Unauthorized, 401),
    (identity.NotAllowed, 403),
    (identity.NotFound, 404),
    (identity.Conflict, 409),
    (Forbidden, 403),
    (Http404, 404),
    (PermissionDenied, 403),
    (RequestDataTooBig, 413),
    (IntegrityError, 409),
    (OperationalError, 503),
)
_FORM_OF_PATH = (
    ("/compute", "compute"),
    ("/identity", "identity"),
    ("/image", "image"),
    ("/network", "network"),
    ("/placement", "placement"),
)


def body(form: str, status: int, message: str, kind: str = "") -> dict[str, Any]:
    """The error body of an API (``form``) for a status and a sentence."""
    title = HTTPStatus(status).phrase
    if form == "compute":
        return {_NOVA_NAMES.get(status, "computeFault"): {"code": status, "message": message}}
    if form == "image":
        return {"code": f"{status} {title}", "title": title, "message": message}
    if form == "network":
        return {"NeutronError": {"type": kind or title.replace(" ", ""), "message": message, "detail": ""}}
    if form == "placement":
        entry = {"status": status, "title": title, "detail": message, "request_id": current().request_id}
        return {"errors": [entry]}
    return {"error": {"code": status, "title": title, "message": message}}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's hook. What nobody foresaw is a 500 with the request id, and a traceback in the log alone."""
    form = getattr(context.get("view"), "form", "nacelle")
    if isinstance(error, exceptions.APIException):
        return _of_rest_framework(error, form)
    for kind, status in _STATUS_OF:
        if isinstance(error, kind):
            if status >= 500 or kind in _SAFE:
                log.error("%s: %s", type(error).__name__, error)
            message = _SAFE.get(kind) or str(error)
            return Response(body(form, status, message, type(error).__name__), status=status)
    log.exception("unexpected error")
    sentence = f"Unexpected error. The administrator finds it in the log by {current().request_id}."
    return Response(body(form, 500, sentence), status=500)


# Of what the database says nothing goes out.
_SAFE: dict[type[Exception], str] = {
    # A row that this one refers to was deleted before the transaction ended.
    IntegrityError: "Another request has changed what this one is about; nothing was changed here. Look again.",
    OperationalError: "The database does not answer just now; nothing was changed. Try again in a moment.",
}


def _of_rest_framework(error: exceptions.APIException, form: str) -> Response:
    status = error.status_code
    headers = {}
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        status, form = 401, "identity"  # keystonemiddleware answers for every service
        from portal.api.authentication import TokenAuthentication

        headers["WWW-Authenticate"] = TokenAuthentication().authenticate_header(None)  # type: ignore[arg-type]  # unread
    return Response(body(form, status, sentence(error.detail)), status=status, headers=headers)


def sentence(detail: Any, where: str = "") -> str:
    """One sentence of DRF's nested details, naming the field."""
    if isinstance(detail, dict):
        return " ".join(sentence(value, f"{where}.{key}" if where else str(key)) for key, value in detail.items())
    if isinstance(detail, list):
        return " ".join(sentence(value, where) for value in detail if value)
    if where and where != "non_field_errors":
        return f"Invalid input for field/attribute {where.removesuffix('.non_field_errors')}. {detail}"
    return str(detail)


def form_of_path(path: str) -> str:
    """The API that a path belongs to: its form of errors. Ours where it is no API of OpenStack's."""
    return next((form for prefix, form in _FORM_OF_PATH if path == prefix or path.startswith(f"{prefix}/")), "nacelle")


def not_found(request: HttpRequest, exception: Exception | None = None) -> Any:
    """The 404 of a path that no API serves; pages have their own."""
    form = form_of_path(request.path)
    if form != "nacelle" or request.path.startswith("/nacelle/"):
        return JsonResponse(body(form, 404, "The resource could not be found."), status=404)
    from portal.dashboard.views import errors

    return errors.not_found(request, exception)
