"""Charts: the host's, the instance's tab, the lines in the list of hosts."""

from __future__ import annotations

import time

import pytest

from compute.models import Host
from compute.statistics.reading import RANGES
from portal.dashboard.views.load import OF_HOST, OF_INSTANCE
from tests.statistics.conftest import instance, measured

__all__ = ["instance"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def load(cloud, instance) -> None:
    now = int(time.time())
    measured(cloud.host, range(now - 100, now, 10), lambda at: 10, instance)


@pytest.mark.parametrize("asked", [*RANGES, "", "x"])
def test_the_charts_get_columns(cloud, root, alice, instance, load, browse, asked):
    host = browse(root).get(f"/cloud/hosts/{cloud.host.pk}/samples?range={asked}").json()
    server = browse(alice).get(f"/instances/{instance.pk}/load/samples?range={asked}").json()
    for found, charts, busy in ((host, OF_HOST, 10.0), (server, OF_INSTANCE, 20.0)):
        assert found["to"] - found["from"] == RANGES.get(asked, RANGES["1h"]).reach
        assert set(found["cpu"]) == {busy}
        for chart in charts:
            assert all(len(found[line.column]) == len(found["at"]) for line in chart.lines)
    assert host["tops"] == {"cpu": 100, "memory": 32_768, "disk": 500}
    assert server["tops"] == {"cpu": 100, "memory": 128}


def test_the_pages_have_the_charts(cloud, root, alice, bob, instance, browse):
    page = browse(root).get(f"/cloud/hosts/{cloud.host.pk}/").content.decode()
    tab = browse(bob).get(f"/instances/{instance.pk}/load").content.decode()
    for text, charts in ((page, OF_HOST), (tab, OF_INSTANCE)):
        for chart in charts:
            assert f'data-title="{chart.title}" data-unit="{chart.unit}"' in text
        for name in RANGES:
            assert f'data-range="{name}"' in text
    assert f'href="/instances/{instance.pk}/load" aria-current="page"' in tab


def test_a_stranger_sees_no_load(cloud, alice, charlie, instance, load, browse):
    client = browse(charlie)
    for path in ("load", "load/samples"):
        assert client.get(f"/instances/{instance.pk}/{path}").status_code == 404
    for path in ("/cloud/hosts/samples", f"/cloud/hosts/{cloud.host.pk}/samples"):
        assert browse(alice).get(path).status_code == 403


def test_the_list_of_hosts_gets_a_line_each(cloud, root, load, browse, django_assert_max_num_queries):
    Host.objects.create(name="more", uri="fake://more")
    client = browse(root)
    assert f'data-spark="{cloud.host.pk}"' in client.get("/cloud/hosts/").content.decode()
    with django_assert_max_num_queries(6):
        found = client.get("/cloud/hosts/samples").json()["hosts"]
    assert len(found) == 2 and found[str(cloud.host.pk)].count(10.0) >= 1
