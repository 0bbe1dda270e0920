"""A path answers the methods that are its own, and none that came to it with the view that it was made from."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from portal.api.table import APIS, METHODS, _routes
from portal.identity.models import Role, User
from tests.conftest import Cloud, Persona

# The same list of versions at two addresses, with two statuses.
MEANT = {"/image/versions"}


def test_no_path_inherits_a_method_from_another_paths_view() -> None:
    routed: dict[Any, str] = {}
    for prefix, module in APIS.items():
        for path, view, _ in _routes(prefix, import_module(module).urlpatterns):
            routed.setdefault(view, path)
    inherited = [
        (path, method)
        for view, path in routed.items()
        for method in METHODS
        if hasattr(view, method) and path not in MEANT
        if (owner := next(one for one in view.__mro__ if method in one.__dict__)) is not view and owner in routed
    ]
    assert inherited == []


@pytest.mark.parametrize("part", ["projects", "groups"])
def test_deleting_what_hangs_on_a_user_does_not_delete_the_user(root: Persona, alice: Persona, part: str) -> None:
    answer = root.delete(f"/identity/v3/users/{alice.user.id}/{part}")
    assert answer.status_code == 405
    assert User.objects.filter(pk=alice.user.id).exists()


def test_deleting_what_a_role_implies_does_not_delete_the_role(root: Persona, cloud: Cloud) -> None:
    role = Role.objects.get(name="manager")
    assert root.delete(f"/identity/v3/roles/{role.id}/implies").status_code == 405
    assert Role.objects.filter(pk=role.id).exists()


def test_patching_the_tags_of_a_project_is_not_served(root: Persona, cloud: Cloud) -> None:
    answer = root.patch(f"/identity/v3/projects/{cloud.demo.id}/tags", {"project": {"name": "renamed"}})
    assert answer.status_code == 405
    cloud.demo.refresh_from_db()
    assert cloud.demo.name == "demo"
