"""Console tokens: the right of one user to open one console of one instance, for ten minutes.

A token is 256 random bits; only its SHA-256 is stored. What it stands for is looked up afresh at
every connect, and again every two seconds while a session lasts, so a token never reaches another
guest than the one that it was issued for (OSSA-2013-006, OSSA-2014-035) and never outlives the
rights of its user. Within its time it may be used again, as with Nova's: a page that is reloaded
goes on working.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from compute.errors import Conflict
from compute.models import Host, Instance, PowerState
from consoleproxy.models import ConsoleToken
from portal.identity.actor import Actor, actor_on_project, actor_on_system
from portal.identity.models import ApplicationCredential, Project, User
from portal.identity.policy import allows, enforce
from portal.requestid import current_request_id

Kind = Literal["novnc", "serial"]

RULE = "os_compute_api:os-remote-consoles"
MAX_LENGTH = 128
REVOKED = "You may not use this console any more."
# A paused guest still has its screen and its serial port.
HAS_CONSOLE = frozenset({PowerState.RUNNING, PowerState.PAUSED})


class Refused(Exception):
    """The console does not open, or not any longer; the sentence says why and is fit for the user."""


@dataclass(frozen=True)
class Grant:
    """What a valid token stands for, as it was at the connect."""

    kind: str
    instance_id: UUID
    host: Host
    user_id: str
    user_stamp: str
    user_name: str
    project_id: str
    project_name: str
    application_credential_id: str
    request_id: str


def issue(instance: Instance, actor: Actor, kind: Kind) -> str:
    """The URL that a browser opens to see this console.

    Raises ``policy.Forbidden`` without the rule ``os_compute_api:os-remote-consoles``, and Conflict
    while the instance is not running or its host is down. A lock does not matter, as in Nova.
    """
    enforce(actor, RULE, instance.project_id)
    host = _host_if_ready(instance)
    now = timezone.now()
    ConsoleToken.objects.filter(expires_at__lte=now).delete()
    token = secrets.token_urlsafe(32)
    ConsoleToken.objects.create(
        digest=_digest(token),
        instance=instance,
        host=host,
        user_id=actor.user_id,
        user_stamp=User.objects.values_list("token_stamp", flat=True).get(pk=actor.user_id),
        project_id=actor.project_id or "",
        application_credential_id=actor.application_credential_id or "",
        request_id=current_request_id(),
        kind=kind,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.CONSOLE_TOKEN_SECONDS),
    )
    return f"{settings.PUBLIC_URL}/console/?{urlencode({'kind': kind, 'token': token})}"


def websocket_url(token: str, kind: Kind) -> str:
    """Where the page connects to with this token."""
    query = urlencode({"token": token})
    if kind == "novnc":
        return f"{settings.CONSOLE_PUBLIC_URL}/?{query}"
    return f"ws{settings.PUBLIC_URL.removeprefix('http')}/ws/serial?{query}"


def authorise(token: str, kind: Kind) -> Grant:
    """What this token stands for now. Raises Refused; nothing is used up."""
    row = _valid_row(token, kind)
    if row is None:
        raise Refused("This console link is not known here or has expired. Open the console again.")
    actor = _actor_now(_key(row))
    if actor is None:
        raise Refused(REVOKED)
    grant = Grant(
        kind=row.kind,
        instance_id=row.instance_id,
        host=row.host,
        user_id=row.user_id,
        user_stamp=row.user_stamp,
        user_name=actor.user_name,
        project_id=row.project_id,
        project_name=actor.project_name,
        application_credential_id=row.application_credential_id,
        request_id=row.request_id,
    )
    if why := ended([grant]).get(grant):
        raise Refused(why)
    if not row.host.is_up:
        raise Refused("The host of the instance is down. Its console opens again when the host is back.")
    return grant


def ended(grants: Iterable[Grant]) -> dict[Grant, str]:
    """Those of the grants that hold no longer, each with the reason.

    One query for all instances, and a few for each user among the grants: cheap enough to be asked
    every two seconds for every session of a process.
    """
    grants = list(grants)
    alive = Instance.objects.alive().only("host_id", "power_state", "project_id")
    found = alive.in_bulk({grant.instance_id for grant in grants})
    actors = {key: _actor_now(key) for key in {_key(grant) for grant in grants}}
    reasons = {grant: _reason(grant, found.get(grant.instance_id), actors[_key(grant)]) for grant in grants}
    return {grant: why for grant, why in reasons.items() if why}


def _reason(grant: Grant, instance: Instance | None, actor: Actor | None) -> str:
    if instance is None:
        return "The instance was deleted."
    if instance.host_id != grant.host.pk:
        return "The instance is on another host now. Open its console again."
    if instance.power_state not in HAS_CONSOLE:
        return "The instance is not running."
    if actor is None or not allows(actor, RULE, instance.project_id):
        return REVOKED
    return ""


def _host_if_ready(instance: Instance) -> Host:
    """The host that has the instance's console. Raises Conflict; the first words are Nova's."""
    if instance.deleted_at is not None or instance.host is None or instance.power_state not in HAS_CONSOLE:
        raise Conflict(f"Instance {instance.pk} is not ready: it is not running.")
    if not instance.host.is_up:
        raise Conflict(f"Instance {instance.pk} is not ready: its host is down.")
    return instance.host


# Who a token speaks for: user, stamp, project, application credential.
_Key = tuple[str, str, str, str]


def _key(of: ConsoleToken | Grant) -> _Key:
    return (of.user_id, of.user_stamp, of.project_id, of.application_credential_id)


def _actor_now(key: _Key) -> Actor | None:
    """The actor that this is now; None when disabled, without a role, or with another password."""
    user_id, stamp, project_id, credential_id = key
    user = User.objects.select_related("domain").filter(pk=user_id, token_stamp=stamp).first()
    if user is None or (credential_id and not _credential_holds(credential_id, user)):
        return None
    if not project_id:
        return actor_on_system(user)
    project = Project.objects.select_related("domain").filter(pk=project_id).first()
    return actor_on_project(user, project) if project else None


def _credential_holds(credential_id: str, user: User) -> bool:
    credential = ApplicationCredential.objects.filter(pk=credential_id, user=user).only("expires_at").first()
    return credential is not None and not (credential.expires_at and credential.expires_at <= timezone.now())


def _valid_row(token: str, kind: Kind) -> ConsoleToken | None:
    if not token or len(token) > MAX_LENGTH:
        return None
    valid = ConsoleToken.objects.filter(digest=_digest(token), kind=kind, expires_at__gt=timezone.now())
    return valid.select_related("host").first()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
