"""A keep-alive HTTP client that speaks as the clients do, and says how long each answer took."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any

SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back. ``seconds`` runs from the first byte sent to the last byte read."""

    status: int
    headers: dict[str, str]
    content: bytes
    seconds: float

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.content)


class Wire:
    """One connection to ``host:port``. A token, once there is one, goes along with each request."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.token = ""
        self._connection = http.client.HTTPConnection(address, timeout=SECONDS)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send JSON, or bytes as they are, and read all of the answer. A connection that was closed is opened again."""
        sent = {"Accept": "application/json", **headers}
        if self.token:
            sent["X-Auth-Token"] = self.token
        raw = isinstance(body, bytes)
        data = body if raw or body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/octet-stream" if raw else "application/json"
        try:
            return self._exchange(method, path, data, sent)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            return self._exchange(method, path, data, sent)
        except BaseException:
            self.close()
            raise

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST."""
        return self.request("POST", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        """DELETE."""
        return self.request("DELETE", path, **headers)

    def log_in(self, credentials: dict[str, str]) -> Answer:
        """Get a token for a project by the values of ``clouds.yaml``'s ``auth``, and keep it."""
        answer = self.post("/identity/v3/auth/tokens", password_request(credentials))
        assert answer.status == 201, (answer.status, answer.content[:500])
        self.token = answer.headers["x-subject-token"]
        return answer

    def close(self) -> None:
        """Let the connection go; the next request opens a new one."""
        self._connection.close()

    def _exchange(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        began = time.perf_counter()
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - began
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content, seconds)


def password_request(credentials: dict[str, str]) -> dict[str, Any]:
    """The body that asks Keystone for a project's token."""
    user = {
        "name": credentials["username"],
        "password": credentials["password"],
        "domain": {"name": credentials["user_domain_name"]},
    }
    project = {"name": credentials["project_name"], "domain": {"name": credentials["project_domain_name"]}}
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": project},
        }
    }
