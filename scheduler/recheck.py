"""Looking again at the host where an instance is, when what it is made of changes."""

from __future__ import annotations

from dataclasses import replace

from scheduler.decide import Deciding
from scheduler.pick import Look
from scheduler.request import Request


def refusal(request: Request, host_id: int) -> str:
    """Why the instance may not get the request's image on its host: what the filters say that are asked again
    on a rebuild (``on_rebuild``), as in Nova. Empty: it may. Claims nothing.
    """
    look = Look.now()
    asked = tuple(one for one in look.pipeline.filters if one.on_rebuild)
    deciding = Deciding(replace(look.pipeline, filters=asked), request, look.scene)
    here = [host for host in look.hosts if host.id == host_id]
    if not here or deciding.filtered(here):
        return ""
    return str(deciding.explanation.rejected[0]["why"])
