"""Evening out the load of the hosts: the moves that would do it, and having them made."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from compute.operations import rebalance
from compute.operations.rebalance import Proposal
from compute.operations.relocations import REBALANCE_RULE
from portal.api.body import Body, StrictCharField
from portal.api.nacelle.relocations import answer_of
from portal.api.wire import ApiView
from portal.identity.policy import enforce


class ApplyBody(Body):
    """The moves that are meant."""

    key = StrictCharField(max_length=64, help_text="The key of the proposal, as it was shown.")


def _shown(proposal: Proposal) -> dict[str, Any]:
    before, after = proposal.plan.before, proposal.plan.after
    hosts = [
        {"name": host.name, "load": round(before[host.id], 4), "load_after": round(after[host.id], 4)}
        for host in proposal.look.hosts
        if host.id in before
    ]
    moves = [
        {
            "server_id": str(instance.pk),
            "server_name": instance.name,
            "project_id": instance.project_id,
            "from": move.source.name,
            "to": move.target.name,
        }
        for instance, move in proposal.moves
    ]
    running = str(proposal.running.uuid) if proposal.running else None
    return {
        "key": proposal.key, "sentence": proposal.plan.sentence, "running": running, "moves": moves, "hosts": hosts,
    }  # fmt: skip


class Rebalance(ApiView):
    """Evening out."""

    @extend_schema(operation_id="propose_rebalance", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Propose moves that even out the load of the hosts; none where it is even enough."""
        return Response({"rebalance": _shown(rebalance.propose(self.actor))})

    @extend_schema(operation_id="apply_rebalance", request=ApplyBody, responses={202: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        """Have the proposed moves made, while the servers run."""
        enforce(self.actor, REBALANCE_RULE)
        return answer_of(rebalance.apply(self.actor, ApplyBody.read(self.body)["key"]), 202)
