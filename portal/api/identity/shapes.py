"""Identity's resources on the wire."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from portal.api.identity.base import self_link, url
from portal.identity.catalog import Endpoint, Service, catalog
from portal.identity.models import AccessRule, ApplicationCredential, Domain, Project, Role, User
from portal.identity.tokens import Token


def moment(when: datetime.datetime) -> str:
    """Keystone's time: ``2026-11-20T15:40:18.000000Z``."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def domain(row: Domain) -> dict[str, Any]:
    """A domain."""
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "enabled": row.enabled,
        "tags": [],
        "options": row.options,
        "links": self_link(f"domains/{row.id}"),
    }


def project(row: Project) -> dict[str, Any]:
    """A project. One without a parent lies directly in its domain, which is then the parent."""
    return {
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "parent_id": row.parent_id or row.domain_id,
        "is_domain": False,
        "description": row.description,
        "enabled": row.enabled,
        "tags": row.tags,
        "options": row.options,
        "links": self_link(f"projects/{row.id}"),
    }


def domain_as_project(row: Domain) -> dict[str, Any]:
    """A domain as the projects' API shows it."""
    return {
        **domain(row),
        "domain_id": None,
        "parent_id": None,
        "is_domain": True,
        "links": self_link(f"projects/{row.id}"),
    }


def user(row: User) -> dict[str, Any]:
    """A user. What was never set is left out, as Keystone does."""
    shown = {
        **row.extra,
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description,
        "enabled": row.enabled,
        "password_expires_at": None,
        "options": row.options,
        "links": self_link(f"users/{row.id}"),
    }
    if row.email:
        shown["email"] = row.email
    if row.default_project_id:
        shown["default_project_id"] = row.default_project_id
    return shown


def role(row: Role) -> dict[str, Any]:
    """A role."""
    return {
        "id": row.id,
        "name": row.name,
        "domain_id": row.domain_id,
        "description": row.description or None,
        "options": row.options,
        "links": self_link(f"roles/{row.id}"),
    }


def role_briefly(row: Role) -> dict[str, Any]:
    """A role where roles imply each other."""
    return {"id": row.id, "name": row.name, "links": self_link(f"roles/{row.id}")}


def inference(prior: Role, implied: Iterable[Role]) -> dict[str, Any]:
    """A role and those that it implies."""
    return {"prior_role": role_briefly(prior), "implies": [role_briefly(one) for one in implied]}


def access_rule(row: AccessRule) -> dict[str, Any]:
    """An access rule, without links, as credentials and tokens hold it."""
    return {"id": row.id, "service": row.service, "path": row.path, "method": row.method}


def access_rule_of(user_id: str, row: AccessRule) -> dict[str, Any]:
    """An access rule by itself."""
    return {**access_rule(row), "links": self_link(f"users/{user_id}/access_rules/{row.id}")}


def credential(row: ApplicationCredential) -> dict[str, Any]:
    """An application credential; its secret is shown by whoever has just made it."""
    shown = {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "system": None,
        "unrestricted": row.unrestricted,
        "expires_at": row.expires_at.strftime("%Y-%m-%dT%H:%M:%S.%f") if row.expires_at else None,
        "roles": [{"id": one.id, "name": one.name, "domain_id": one.domain_id} for one in row.roles.all()],
        "links": self_link(f"users/{row.user_id}/application_credentials/{row.id}"),
    }
    if rules := [access_rule(one) for one in row.access_rules.all()]:
        shown["access_rules"] = rules
    return shown


def token(row: Token, *, with_catalog: bool) -> dict[str, Any]:
    """What a token says."""
    shown: dict[str, Any] = {
        "methods": list(row.methods),
        "user": {
            "id": row.user.id,
            "name": row.user.name,
            "domain": _ref(row.user.domain),
            "password_expires_at": None,
        },
        "audit_ids": list(row.audit_ids),
        "issued_at": moment(row.issued_at),
        "expires_at": moment(row.expires_at),
    }
    if row.roles:
        shown |= _scope(row)
        shown["roles"] = [{"id": one.id, "name": one.name} for one in row.roles]
        if with_catalog:
            shown["catalog"] = catalog()
    if row.application_credential is not None:
        shown["application_credential"] = _credential_of_token(row.application_credential)
    return shown


def _ref(row: Domain) -> dict[str, str]:
    return {"id": row.id, "name": row.name}


def _scope(row: Token) -> dict[str, Any]:
    scope = row.scope
    if scope.project is not None:
        project = {"id": scope.project.id, "name": scope.project.name, "domain": _ref(scope.project.domain)}
        return {"project": project, "is_domain": False}
    if scope.domain is not None:
        return {"domain": _ref(scope.domain)}
    return {"system": {"all": True}}


def _credential_of_token(row: ApplicationCredential) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": row.id, "name": row.name, "restricted": not row.unrestricted}
    if rules := [access_rule(one) for one in row.access_rules.all()]:
        shown["access_rules"] = rules
    return shown


def service(row: Service) -> dict[str, Any]:
    """A service of the catalog."""
    return {
        "id": row.id,
        "type": row.type,
        "name": row.name,
        "description": row.description,
        "enabled": True,
        "links": self_link(f"services/{row.id}"),
    }


def endpoint(row: Endpoint, region: str) -> dict[str, Any]:
    """An endpoint of the catalog."""
    return {
        "id": row.id,
        "interface": row.interface,
        "service_id": row.service.id,
        "region": region,
        "region_id": region,
        "url": row.service.url,
        "enabled": True,
        "links": self_link(f"endpoints/{row.id}"),
    }


def region(name: str) -> dict[str, Any]:
    """A region."""
    return {"id": name, "description": "", "parent_region_id": None, "links": self_link(f"regions/{name}")}


def version() -> dict[str, Any]:
    """The one version of the API that is served."""
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": url("")}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }
