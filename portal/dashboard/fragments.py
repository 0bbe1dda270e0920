"""Fragments: the same page without its shell, for scripts that replace parts of it in place."""

from __future__ import annotations

from django.http import HttpRequest

HEADER = "X-Fragment"


def wanted(request: HttpRequest) -> bool:
    """Whether a script of ours asks, and so no shell around the content is needed."""
    return HEADER in request.headers


def shell_template(request: HttpRequest) -> str:
    """The template that a page extends."""
    return "shell/fragment.html" if wanted(request) else "shell/page.html"
