"""Paths, each with and without a slash at its end, as Keystone answers them."""

from __future__ import annotations

import re
from typing import Any

from django.urls import URLPattern, re_path
from rest_framework.views import APIView

from portal.api.identity import (
    credentials,
    discovery,
    domains,
    grants,
    projects,
    roles,
    services,
    tokens,
    users,
)


def _path(route: str, view: type[APIView]) -> URLPattern:
    """A route with ``<names>`` for its variable parts, which hold anything but slashes and NUL."""
    pattern = re.sub(r"<(\w+)>", r"(?P<\1>[^/\\x00]+)", route)
    return re_path(f"^{pattern}/?$", view.as_view())


urlpatterns: list[Any] = [
    _path("", discovery.Versions),
    _path("/v3", discovery.Version),
    _path("/v3/auth/tokens", tokens.Tokens),
    _path("/v3/auth/catalog", tokens.AuthCatalog),
    _path("/v3/auth/projects", tokens.AuthProjects),
    _path("/v3/auth/domains", tokens.AuthDomains),
    _path("/v3/auth/system", tokens.AuthSystem),
    _path("/v3/domains", domains.Domains),
    _path("/v3/domains/<domain_id>", domains.OneDomain),
    _path("/v3/domains/<domain_id>/users/<user_id>/roles", grants.Grants),
    _path("/v3/domains/<domain_id>/users/<user_id>/roles/<role_id>", grants.Grant),
    _path("/v3/projects", projects.Projects),
    _path("/v3/projects/<project_id>", projects.OneProject),
    _path("/v3/projects/<project_id>/tags", projects.ProjectTags),
    _path("/v3/projects/<project_id>/tags/<tag>", projects.OneProjectTag),
    _path("/v3/projects/<project_id>/users/<user_id>/roles", grants.Grants),
    _path("/v3/projects/<project_id>/users/<user_id>/roles/<role_id>", grants.Grant),
    _path("/v3/system/users/<user_id>/roles", grants.Grants),
    _path("/v3/system/users/<user_id>/roles/<role_id>", grants.Grant),
    _path("/v3/role_assignments", grants.RoleAssignments),
    _path("/v3/users", users.Users),
    _path("/v3/users/<user_id>", users.OneUser),
    _path("/v3/users/<user_id>/password", users.UserPassword),
    _path("/v3/users/<user_id>/projects", users.UserProjects),
    _path("/v3/users/<user_id>/groups", users.UserGroups),
    _path("/v3/users/<user_id>/application_credentials", credentials.Credentials),
    _path("/v3/users/<user_id>/application_credentials/<credential_id>", credentials.OneCredential),
    _path("/v3/users/<user_id>/access_rules", credentials.AccessRules),
    _path("/v3/users/<user_id>/access_rules/<rule_id>", credentials.OneAccessRule),
    _path("/v3/groups", users.Groups),
    _path("/v3/groups/<group_id>", users.OneGroup),
    _path("/v3/roles", roles.Roles),
    _path("/v3/roles/<role_id>", roles.OneRole),
    _path("/v3/roles/<role_id>/implies", roles.ImpliedRoles),
    _path("/v3/roles/<role_id>/implies/<implied_id>", roles.ImpliedRole),
    _path("/v3/role_inferences", roles.RoleInferences),
    _path("/v3/services", services.Services),
    _path("/v3/services/<service_id>", services.OneService),
    _path("/v3/endpoints", services.Endpoints),
    _path("/v3/endpoints/<endpoint_id>", services.OneEndpoint),
    _path("/v3/regions", services.Regions),
    _path("/v3/regions/<region_id>", services.OneRegion),
]
