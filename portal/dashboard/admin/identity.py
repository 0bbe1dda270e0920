"""Domains, projects, users, roles, and who has which."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from consoleproxy.models import ConsoleToken
from portal.dashboard.admin.base import ByVerbs, LookOnly
from portal.identity import projects, roles, users
from portal.identity.backend import PASSWORD_MAX_LENGTH
from portal.identity.models import (
    AccessRule,
    ApplicationCredential,
    Assignment,
    Domain,
    Project,
    RevokedToken,
    Role,
    User,
)
from portal.identity.storing import remove


@admin.register(Domain)
class DomainAdmin(ByVerbs):
    """Domains."""

    list_display = ("name", "enabled", "description", "id")
    list_filter = ("enabled",)
    search_fields = ("name", "id")
    fields = ("id", "name", "description", "enabled")
    readonly_fields = ("id",)

    def make(self, request: HttpRequest, obj: Domain) -> Domain:
        """A new domain."""
        return projects.create_domain(name=obj.name, description=obj.description, enabled=obj.enabled)

    def change(self, request: HttpRequest, obj: Domain, changes: dict[str, Any]) -> None:
        """Rename, describe, disable."""
        projects.update_domain(obj, changes)

    def drop(self, request: HttpRequest, obj: Domain) -> None:
        """With all that is in it."""
        projects.delete_domain(obj)


@admin.register(Project)
class ProjectAdmin(ByVerbs):
    """Projects."""

    list_display = ("name", "domain", "enabled", "description", "id")
    list_filter = ("enabled", "domain")
    list_select_related = ("domain",)
    search_fields = ("name", "id", "description")
    fields = ("id", "name", "domain", "parent", "description", "enabled")
    readonly_fields = ("id",)
    fixed = ("domain", "parent")
    autocomplete_fields = ("parent",)

    def make(self, request: HttpRequest, obj: Project) -> Project:
        """A new project."""
        return projects.create_project(
            name=obj.name,
            domain_id=obj.domain_id,
            parent_id=obj.parent_id,
            description=obj.description,
            enabled=obj.enabled,
        )

    def change(self, request: HttpRequest, obj: Project, changes: dict[str, Any]) -> None:
        """Rename, describe, disable."""
        projects.update_project(obj, changes)

    def drop(self, request: HttpRequest, obj: Project) -> None:
        """If it owns nothing any more."""
        projects.delete_project(obj)


class UserForm(forms.ModelForm[User]):
    """A user. The password is only ever set, never shown."""

    new_password = forms.CharField(
        max_length=PASSWORD_MAX_LENGTH,
        required=False,
        strip=False,
        widget=forms.PasswordInput(render_value=False),
        help_text="Empty: stays as it is. A new one ends all tokens of the user.",
    )

    class Meta:
        model = User
        fields = ("name", "domain", "email", "description", "enabled", "default_project")


@admin.register(User)
class UserAdmin(ByVerbs):
    """Users."""

    form = UserForm
    list_display = ("name", "domain", "enabled", "email", "default_project", "created_at", "id")
    list_filter = ("enabled", "domain")
    list_select_related = ("domain", "default_project")
    search_fields = ("name", "id", "email")
    fields = (
        "id",
        "name",
        "new_password",
        "domain",
        "email",
        "description",
        "enabled",
        "default_project",
        "password_changed_at",
    )
    readonly_fields = ("id", "password_changed_at")
    fixed = ("domain",)
    autocomplete_fields = ("default_project",)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """The password goes along under its own name."""
        obj.typed_password = form.cleaned_data["new_password"] or None
        super().save_model(request, obj, form, change)

    def make(self, request: HttpRequest, obj: Any) -> User:
        """A new user, who can log in if a password was given."""
        return users.create_user(
            name=obj.name,
            domain_id=obj.domain_id,
            password=obj.typed_password,
            email=obj.email,
            description=obj.description,
            enabled=obj.enabled,
            default_project_id=obj.default_project_id,
        )

    def change(self, request: HttpRequest, obj: User, changes: dict[str, Any]) -> None:
        """Rename, describe, disable, set a password."""
        if password := changes.pop("new_password", None):
            changes["password"] = password
        if "default_project" in changes:
            project = changes.pop("default_project")
            changes["default_project_id"] = project.pk if project else None
        users.update_user(obj, changes)

    def drop(self, request: HttpRequest, obj: User) -> None:
        """With roles, key pairs and application credentials."""
        users.delete_user(obj)


@admin.register(Role)
class RoleAdmin(ByVerbs):
    """Roles."""

    list_display = ("name", "domain", "description", "id")
    search_fields = ("name", "id")
    fields = ("id", "name", "domain", "description", "implied")
    readonly_fields = ("id", "implied")
    fixed = ("domain",)

    @admin.display(description="Implies")
    def implied(self, obj: Role) -> str:
        """The roles that come with it."""
        return ", ".join(role.name for role in obj.implies.all()) if obj.pk else ""

    def make(self, request: HttpRequest, obj: Role) -> Role:
        """A new role; policy knows only the five that come with Nacelle."""
        return roles.create_role(name=obj.name, domain_id=obj.domain_id, description=obj.description)

    def change(self, request: HttpRequest, obj: Role, changes: dict[str, Any]) -> None:
        """Rename, describe."""
        roles.update_role(obj, changes)

    def drop(self, request: HttpRequest, obj: Role) -> None:
        """With its assignments."""
        roles.delete_role(obj)


@admin.register(Assignment)
class AssignmentAdmin(ByVerbs):
    """Who has which role where: on a project, a domain or the system."""

    list_display = ("user", "role", "project", "domain", "system")
    list_filter = ("role", "system")
    list_select_related = ("user", "role", "project", "domain")
    search_fields = ("user__name", "project__name", "role__name")
    autocomplete_fields = ("user", "role", "project", "domain")

    def has_change_permission(self, request: HttpRequest, obj: Assignment | None = None) -> bool:
        """Given and taken away, never changed."""
        return False

    def make(self, request: HttpRequest, obj: Assignment) -> Assignment:
        """Give the role."""
        target = roles.Target(project=obj.project, domain=obj.domain)
        roles.grant(obj.user, obj.role, target)
        return Assignment.objects.get(user=obj.user, role=obj.role, **target.fields)

    def drop(self, request: HttpRequest, obj: Assignment) -> None:
        """Take it away."""
        roles.take_away(obj.user, obj.role, roles.Target(project=obj.project, domain=obj.domain))


@admin.register(ApplicationCredential)
class ApplicationCredentialAdmin(LookOnly):
    """Programs' own passwords; they may be revoked here."""

    list_display = ("name", "user", "project", "expires_at", "unrestricted", "created_at")
    list_select_related = ("user", "project")
    search_fields = ("name", "user__name", "project__name", "id")
    exclude = ("secret_hash",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Revoking one is deleting it."""
        return True

    def delete_model(self, request: HttpRequest, obj: ApplicationCredential) -> None:
        """Revoke."""
        remove(obj, "application_credential", project_id=obj.project_id)


@admin.register(AccessRule)
class AccessRuleAdmin(LookOnly):
    """What application credentials may call."""

    list_display = ("service", "method", "path", "user")
    list_select_related = ("user",)


@admin.register(RevokedToken)
class RevokedTokenAdmin(LookOnly):
    """Tokens revoked before their time."""

    list_display = ("audit_id", "expires_at")


@admin.register(ConsoleToken)
class ConsoleTokenAdmin(LookOnly):
    """Rights to open a console; of the token itself there is only a digest, and that is not shown."""

    list_display = ("instance", "kind", "host", "user_id", "project_id", "created_at", "expires_at")
    list_display_links = None
    list_select_related = ("instance", "host")
    exclude = ("digest",)
