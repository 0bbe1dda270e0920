"""How long the API takes to answer a client that keeps its connection."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench import rows
from tests.bench.figures import Figure, spread
from tests.e2e.wire import Answer, Wire, password_request

LIST_GOAL_MS = 150.0
OPENSTACK_TOKEN_MS, OPENSTACK_SHOW_MS, OPENSTACK_LIST_MS = 237.0, 47.0, 1600.0
LIMIT = 1000
SIZES = (10, 1000, 10_000)
WARM_UP = 3
LATEST = {"OpenStack-API-Version": "compute latest"}


def measure(wire: Wire, credentials: dict[str, str], runs: int) -> list[Figure]:
    """Token, show and list. ``runs`` is how often each list is asked for; the quick calls five times as often."""
    from portal.identity.models import Project, User

    project = Project.objects.get(name=credentials["project_name"], domain_id="default")
    user = User.objects.get(name=credentials["username"], domain_id="default")
    body = password_request(credentials)
    found = spread(
        "token issue by password",
        timed(lambda: wire.post("/identity/v3/auth/tokens", body), 201, runs * 2),
        goal=None,
        openstack=OPENSTACK_TOKEN_MS,
    )
    for size in SIZES:
        rows.fill_up(project, user, size)
        if size == SIZES[0]:
            found += _show(wire, runs * 5)
        found += _list(wire, size, runs)
    return found


def _show(wire: Wire, runs: int) -> list[Figure]:
    server = wire.get("/compute/v2.1/servers?limit=1").json["servers"][0]["id"]
    seconds = timed(lambda: wire.get(f"/compute/v2.1/servers/{server}"), 200, runs)
    return spread("server show", seconds, goal=None, openstack=OPENSTACK_SHOW_MS)


def _list(wire: Wire, size: int, runs: int) -> list[Figure]:
    path = f"/compute/v2.1/servers/detail?limit={LIMIT}"
    assert len(wire.get(path).json["servers"]) == min(size, LIMIT)
    goal, openstack = (LIST_GOAL_MS, OPENSTACK_LIST_MS) if size == LIMIT else (None, None)
    name = f"server list, {size:,} rows at limit {LIMIT:,}"
    found = spread(name, timed(lambda: wire.get(path), 200, runs), goal=goal, openstack=openstack)
    if size == LIMIT:
        latest = timed(lambda: wire.get(path, **LATEST), 200, runs)
        found += spread(f"    the same at the latest version ({size:,} rows)", latest, goal=None, openstack=None)
    return found


def timed(call: Callable[[], Answer], status: int, runs: int) -> list[float]:
    """Seconds of each call, after a few that do not count."""
    seconds = []
    for run in range(WARM_UP + runs):
        answer = call()
        assert answer.status == status, (answer.status, answer.content[:500])
        if run >= WARM_UP:
            seconds.append(answer.seconds)
    return seconds
