"""os-migrateLive: to another host while it runs; whether disks are copied is Nacelle's to find out since 2.25."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.exceptions import ParseError

from compute.destinations import check_now
from compute.models import Instance
from compute.operations.engine import request as request_operation
from compute.operations.live_migration import LiveMigration
from portal.api.body import Body, StrictBooleanField
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.compute.server_body import NameField
from portal.api.versions import Version
from portal.api.wire import HeadersOnly

AUTO = "auto"


class BlockMigrationField(StrictBooleanField):
    """Whether the disks are copied: a boolean, or since 2.25 ``auto``, which is None here."""

    def to_internal_value(self, data: Any) -> bool | None:  # type: ignore[override]  # auto is neither
        """Refuse the rest."""
        version: Version | None = self.context.get("version")
        if data == AUTO and (version is None or version >= Version(2, 25)):
            return None
        return super().to_internal_value(data)


class MigrateLiveBody(Body):
    """What ``os-migrateLive`` takes."""

    host = NameField(allow_null=True)
    block_migration = BlockMigrationField()
    disk_over_commit = StrictBooleanField()
    force = StrictBooleanField(required=False)
    since: ClassVar[dict[str, str]] = {"force": "2.30"}
    until: ClassVar[dict[str, str]] = {"disk_over_commit": "2.24", "force": "2.67"}


def migrate_live(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Bring the instance to another host while it runs."""
    data = MigrateLiveBody.read(object_of(argument, "os-migrateLive"), view.version)
    host, force = data["host"] or "", bool(data.get("force"))
    if force and not host:
        raise ParseError("Can't force to a non-provided destination")
    params = {"host": host, "block_migration": data["block_migration"], "force": force}
    if not view.at("2.34"):  # since then the answer waits for no decision
        check_now(instance, view.actor, params)
    request_operation(LiveMigration, instance, view.actor, **params)
    return HeadersOnly(202)
