"""Somebody who is logged in to the portal and opens pages, without a browser."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

from tests.e2e.nacelle import PATIENCE, Nacelle


class Visitor:
    """The administrator."""

    def __init__(self, nacelle: Nacelle) -> None:
        self._address = f"http://{nacelle.address}"
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.page("/login"))
        assert token is not None
        credentials = nacelle.credentials
        form = {"name": credentials["username"], "password": credentials["password"], "csrfmiddlewaretoken": token[1]}
        with self._opener.open(f"{self._address}/login", urllib.parse.urlencode(form).encode(), PATIENCE) as answer:
            assert not answer.url.endswith("/login"), "it was not let in"

    def page(self, path: str) -> str:
        """A page's text. Raises urllib.error.HTTPError for what is not there or not well."""
        with self._opener.open(self._address + path, timeout=PATIENCE) as answer:
            return str(answer.read().decode())
