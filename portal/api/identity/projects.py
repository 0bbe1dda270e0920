"""Projects and their tags. A domain can be met here too, as a project with ``is_domain``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.identity import shapes
from portal.api.identity.base import IdentityView, is_true, url
from portal.api.identity.bodies import ProjectBody, ProjectUpdate, Tags
from portal.api.wire import HeadersOnly
from portal.identity.errors import NotFound
from portal.identity.models import Domain, Project
from portal.identity.projects import (
    create_domain,
    create_project,
    delete_domain,
    delete_project,
    update_domain,
    update_project,
)

DOMAIN_FIELDS = ("name", "description", "enabled", "options")


class Projects(IdentityView):
    """All projects."""

    def get(self, request: Request) -> Response:
        """By name; filters name, domain_id, parent_id, enabled, is_domain and the four of tags."""
        self.enforce("list_projects", domain_id=self.actor.domain_id)
        if is_true(self.query.get("is_domain", "no")):
            domains = self.filtered(Domain.objects.order_by("name"), "name", "enabled")
            domains = domains.filter(pk=self.actor.domain_id) if self.actor.domain_id else domains
            return self.listed("projects", domains, shapes.domain_as_project)
        rows = self.filtered(Project.objects.order_by("name"), "name", "domain_id", "enabled")
        if self.actor.domain_id:
            rows = rows.filter(domain_id=self.actor.domain_id)
        return self.listed("projects", self._tagged(self._below(rows)), shapes.project)

    def _below(self, rows: QuerySet[Project]) -> QuerySet[Project]:
        parent_id = self.query.get("parent_id")
        if not parent_id:
            return rows
        return rows.filter(parent_id=parent_id) | rows.filter(parent=None, domain_id=parent_id)

    def _tagged(self, rows: QuerySet[Project]) -> QuerySet[Project]:
        wanted = {name: set(self.query[name].split(",")) for name in TAG_FILTERS if self.query.get(name)}
        if not wanted:
            return rows
        # Tags lie in a JSON list, which the databases search each in its own way; projects are few.
        pairs = rows.values_list("pk", "tags")
        kept = [pk for pk, tags in pairs if all(TAG_FILTERS[name](set(tags), asked) for name, asked in wanted.items())]
        return rows.filter(pk__in=kept)

    def post(self, request: Request) -> Response:
        """Create; a domain when ``is_domain`` says so."""
        given = ProjectBody.read(self.wrapped("project"))
        if given.pop("is_domain", False):
            return Response({"project": shapes.domain_as_project(self._create_domain(given))}, status=201)
        self.enforce("create_project")
        domain_id = given.pop("domain_id", None) or self._domain_of(given.get("parent_id"))
        return Response({"project": shapes.project(create_project(domain_id=domain_id, **given))}, status=201)

    def _create_domain(self, given: dict[str, Any]) -> Domain:
        self.enforce("create_domain")
        if given.get("domain_id") or given.get("parent_id"):
            raise ParseError("A domain has no domain_id and no parent_id.")
        return create_domain(**{name: given[name] for name in DOMAIN_FIELDS if name in given})

    def _domain_of(self, parent_id: str | None) -> str:
        """Without a domain: the parent's, else that of the token (Keystone's defaults)."""
        if parent_id is None:
            return self.actor.domain_id or self.actor.project_domain_id
        parent = Project.objects.filter(pk=parent_id).first()
        return parent.domain_id if parent else parent_id


TAG_FILTERS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "tags": lambda tags, asked: asked <= tags,
    "tags-any": lambda tags, asked: bool(asked & tags),
    "not-tags": lambda tags, asked: not asked <= tags,
    "not-tags-any": lambda tags, asked: not asked & tags,
}


class ProjectView(IdentityView):
    """What is below one project."""

    def project(self, project_id: str, rule: str) -> Project | Domain:
        """The project or domain that the caller may see or change."""
        row = Project.objects.filter(pk=project_id).first() or Domain.objects.filter(pk=project_id).first()
        domain_id = row.domain_id if isinstance(row, Project) else row.id if row else None
        self.enforce(rule, project_id, domain_id=domain_id)
        if row is None:
            raise NotFound("project", project_id)
        return row


class OneProject(ProjectView):
    """One project, or one domain by way of it."""

    def get(self, request: Request, project_id: str) -> Response:
        """Show."""
        return self._shown(self.project(project_id, "get_project"))

    def patch(self, request: Request, project_id: str) -> Response:
        """Change."""
        row = self.project(project_id, "update_project")
        changes = self.read_changes("project", ProjectUpdate, project_id)
        if changes.pop("is_domain", isinstance(row, Domain)) != isinstance(row, Domain):
            raise ParseError("A project does not become a domain, nor a domain a project.")
        if isinstance(row, Domain):
            return self._shown(update_domain(row, {key: changes[key] for key in DOMAIN_FIELDS if key in changes}))
        return self._shown(update_project(row, changes))

    def delete(self, request: Request, project_id: str) -> HeadersOnly:
        """Delete."""
        row = self.project(project_id, "delete_project")
        if isinstance(row, Domain):
            delete_domain(row)
        else:
            delete_project(row)
        return HeadersOnly(204)

    def _shown(self, row: Project | Domain) -> Response:
        shape = shapes.domain_as_project(row) if isinstance(row, Domain) else shapes.project(row)
        return Response({"project": shape})


class ProjectTags(ProjectView):
    """A project's tags."""

    def tagged(self, project_id: str, rule: str) -> Project:
        """The project; domains have no tags here."""
        row = self.project(project_id, rule)
        if isinstance(row, Domain):
            raise NotFound("project", project_id)
        return row

    def get(self, request: Request, project_id: str) -> Response:
        """List."""
        return self._tags(self.tagged(project_id, "get_project"))

    def put(self, request: Request, project_id: str) -> Response:
        """Replace all."""
        project = self.tagged(project_id, "update_project")
        if set(self.body) != {"tags"}:
            raise ParseError("The request body must be an object with the one key tags.")
        return self._tags(update_project(project, {"tags": Tags().run_validation(self.body["tags"])}))

    def delete(self, request: Request, project_id: str) -> HeadersOnly:
        """Remove all."""
        update_project(self.tagged(project_id, "update_project"), {"tags": []})
        return HeadersOnly(204)

    def _tags(self, project: Project) -> Response:
        return Response({"tags": project.tags, "links": {"self": url(f"projects/{project.pk}/tags")}})


class OneProjectTag(ProjectTags):
    """One tag of a project."""

    def get(self, request: Request, project_id: str, tag: str) -> HeadersOnly:  # type: ignore[override]  # one more part
        """Whether it is there."""
        if tag not in self.tagged(project_id, "get_project").tags:
            raise NotFound("project tag", tag)
        return HeadersOnly(204)

    def put(self, request: Request, project_id: str, tag: str) -> HeadersOnly:  # type: ignore[override]  # as above
        """Add."""
        project = self.tagged(project_id, "update_project")
        tags = Tags().run_validation([*project.tags, *({tag} - set(project.tags))])
        update_project(project, {"tags": tags})
        return HeadersOnly(201)

    def delete(self, request: Request, project_id: str, tag: str) -> HeadersOnly:  # type: ignore[override]  # as above
        """Remove."""
        project = self.tagged(project_id, "update_project")
        if tag not in project.tags:
            raise NotFound("project tag", tag)
        update_project(project, {"tags": [one for one in project.tags if one != tag]})
        return HeadersOnly(204)
