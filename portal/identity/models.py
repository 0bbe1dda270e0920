"""Domains, projects, users, roles and who has which role where: Keystone's nouns."""

from __future__ import annotations

import secrets
import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone


def new_id() -> str:
    """Keystone's form of an id: a UUID in 32 hexadecimal digits."""
    return uuid.uuid4().hex


def new_stamp() -> str:
    """A fresh token stamp: tokens carry it, and die when it changes."""
    return secrets.token_hex(8)


class Domain(models.Model):
    """A container of projects and users; names are unique within it."""

    id = models.CharField(max_length=64, primary_key=True, default=new_id)
    name = models.CharField(max_length=64, unique=True)
    description = models.TextField(blank=True, default="")
    enabled = models.BooleanField(default=True)
    options = models.JSONField(default=dict, blank=True, help_text="Keystone's resource options: immutable.")

    def __str__(self) -> str:
        return self.name


class Project(models.Model):
    """What owns instances, images and quota (a tenant, in Nova's older words)."""

    id = models.CharField(max_length=64, primary_key=True, default=new_id)
    name = models.CharField(max_length=64)
    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="projects")
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    description = models.TextField(blank=True, default="")
    enabled = models.BooleanField(default=True)
    tags = models.JSONField(default=list, blank=True)
    options = models.JSONField(default=dict, blank=True, help_text="Keystone's resource options: immutable.")
    extra = models.JSONField(
        default=dict, blank=True, help_text="Properties that clients gave, given back as they are."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "name"], name="project_name_in_domain")]

    def __str__(self) -> str:
        return self.name


class UserManager(BaseUserManager["User"]):
    """Creates users with a hashed password."""

    def create_user(self, name: str, password: str | None = None, **fields: Any) -> User:
        """A user with this name and password (None: cannot log in with one)."""
        user = self.model(name=name, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """A person or a program that logs in. Names are unique within the domain."""

    id = models.CharField(max_length=64, primary_key=True, default=new_id)
    name = models.CharField(max_length=255)
    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="users")
    email = models.EmailField(blank=True, default="")
    description = models.TextField(blank=True, default="")
    enabled = models.BooleanField(default=True)
    default_project = models.ForeignKey(Project, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    password_changed_at = models.DateTimeField(default=timezone.now, editable=False)
    token_stamp = models.CharField(max_length=32, default=new_stamp, editable=False)
    options = models.JSONField(default=dict, blank=True, help_text="Keystone's user options: lock_password and others.")
    extra = models.JSONField(
        default=dict, blank=True, help_text="Properties that clients gave, given back as they are."
    )

    USERNAME_FIELD = "name"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "name"], name="user_name_in_domain")]

    def __str__(self) -> str:
        return self.name

    def set_password(self, raw_password: str | None) -> None:
        """Change the password; every token issued before dies with the old one."""
        super().set_password(raw_password)
        self.token_stamp = new_stamp()
        self.password_changed_at = timezone.now()

    @property
    def is_active(self) -> bool:  # type: ignore[override]  # Django's attribute; ours is the stored flag
        """Whether the user may log in: enabled, and so is the domain."""
        return self.enabled and self.domain.enabled

    @property
    def is_staff(self) -> bool:
        """Whether Django's admin pages open: for administrators of the cloud."""
        return self.is_active and self.is_cloud_admin

    is_superuser = is_staff

    @property
    def is_cloud_admin(self) -> bool:
        """Whether the user has the role admin on any project or on the system."""
        return Assignment.objects.filter(user=self, role__name="admin").exclude(project=None, system=False).exists()

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Django's admin asks; administrators may all, others nothing."""
        return self.is_staff

    def has_module_perms(self, app_label: str) -> bool:
        """As ``has_perm``, for a whole app."""
        return self.is_staff


class Role(models.Model):
    """A name for what somebody may do; policy rules ask for it."""

    id = models.CharField(max_length=64, primary_key=True, default=new_id)
    name = models.CharField(max_length=255, unique=True)
    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, null=True, blank=True, related_name="roles")
    description = models.TextField(blank=True, default="")
    options = models.JSONField(default=dict, blank=True, help_text="Keystone's resource options: immutable.")
    implies: models.ManyToManyField[Role, Any] = models.ManyToManyField(
        "self", symmetrical=False, blank=True, related_name="implied_by"
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Assignment(models.Model):
    """A user has a role on a project, on a domain, or on the system: on exactly one of the three."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="assignments")
    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="assignments")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, blank=True, related_name="assignments")
    domain = models.ForeignKey(Domain, on_delete=models.CASCADE, null=True, blank=True, related_name="assignments")
    system = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "role", "project"],
                condition=models.Q(project__isnull=False),
                name="assignment_once_per_project",
            ),
            models.UniqueConstraint(
                fields=["user", "role", "domain"],
                condition=models.Q(domain__isnull=False),
                name="assignment_once_per_domain",
            ),
            models.UniqueConstraint(
                fields=["user", "role"], condition=models.Q(system=True), name="assignment_once_on_system"
            ),
            models.CheckConstraint(
                condition=(
                    models.Q(project__isnull=False, domain__isnull=True, system=False)
                    | models.Q(project__isnull=True, domain__isnull=False, system=False)
                    | models.Q(project__isnull=True, domain__isnull=True, system=True)
                ),
                name="assignment_has_one_target",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} on {self.project or self.domain or 'system'}"


class AccessRule(models.Model):
    """A kind of request that an application credential may make; it narrows the roles, never widens them.

    ``path`` is within the service, without the prefix that Nacelle serves it under: ``/v2.1/servers/*``.
    """

    id = models.CharField(max_length=64, primary_key=True, default=new_id)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="access_rules")
    service = models.CharField(max_length=64)
    method = models.CharField(max_length=16)
    path = models.CharField(max_length=225)

    class Meta:
        ordering = ["service", "path", "method"]
        constraints = [models.UniqueConstraint(fields=["user", "service", "method", "path"], name="access_rule_once")]

    def __str__(self) -> str:
        return f"{self.service}: {self.method} {self.path}"


class ApplicationCredential(models.Model):
    """A password of a program's own: a user's roles on one project, or fewer of them."""

    id = models.CharField(max_length=64, primary_key=True, default=new_id)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="application_credentials")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="application_credentials")
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True, default="")
    secret_hash = models.CharField(max_length=255)
    roles: models.ManyToManyField[Role, Any] = models.ManyToManyField(Role, related_name="+")
    access_rules: models.ManyToManyField[AccessRule, Any] = models.ManyToManyField(
        AccessRule, blank=True, related_name="application_credentials"
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    unrestricted = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="application_credential_name")]

    def __str__(self) -> str:
        return self.name


class RevokedToken(models.Model):
    """The audit id of a token revoked before its time; purged once the token would have expired."""

    audit_id = models.CharField(max_length=64, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.audit_id
