"""A server's migrations, and what can be said to a live one that is under way."""

from __future__ import annotations

from rest_framework.exceptions import ParseError
from rest_framework.request import Request

from compute.operations import migration_control
from portal.api.compute.base import ComputeView, call
from portal.api.wire import HeadersOnly


class ServerMigration(ComputeView):
    """/servers/{id}/migrations/{id}"""

    @call("os_compute_api:servers:migrations:delete", since="2.24")
    def delete(self, request: Request, server_id: str, migration_id: str) -> HeadersOnly:
        """Abort a live migration; since 2.65 also one that has not begun."""
        instance = self.instance(server_id)
        migration_control.abort(self.actor, instance, migration_id, waiting=self.at("2.65"))
        return HeadersOnly(202)


class ServerMigrationAction(ComputeView):
    """/servers/{id}/migrations/{id}/action"""

    @call("os_compute_api:servers:migrations:force_complete", since="2.22")
    def post(self, request: Request, server_id: str, migration_id: str) -> HeadersOnly:
        """Bring a live migration to its end: force_complete."""
        instance = self.instance(server_id)
        if self.body != {"force_complete": None}:
            raise ParseError('The body must be {"force_complete": null}.')
        migration_control.force_complete(self.actor, instance, migration_id)
        return HeadersOnly(202)
