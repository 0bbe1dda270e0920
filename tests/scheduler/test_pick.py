"""Filters, weighers, claims and their explanation."""

from __future__ import annotations

import threading

import pytest
from django.db import connections

from compute.models import Host
from scheduler import claims
from scheduler.explain import Explanation
from scheduler.pick import place
from tests.scheduler.views import SMALL, host, rank, request


def test_the_host_with_the_most_free_memory_is_first():
    hosts = [host(id=1, name="a", memory_used_mb=900), host(id=2, name="b", memory_used_mb=100)]
    explanation = Explanation()
    assert [one.name for one in rank(hosts, request(), explanation)] == ["b", "a"]
    assert [entry["host"] for entry in explanation.weights] == ["b", "a"]


def test_no_host_at_all_is_said(db):
    placement = place(SMALL)
    assert placement.host is None
    assert "there is no host yet" in placement.explanation.sentence()


def test_several_hosts_are_summed_up(cloud):
    Host.objects.create(name="host-2", uri="fake://2", state="down", state_reason="no route")
    sentence = place(request(memory_mb=10**6)).explanation.sentence()
    assert sentence == (
        "No valid host was found: of 2 hosts, down or disabled on 1, not enough memory on 1 "
        "(wants 1000000 MB, 48384 of 48384 MB free at ratio 1.5)."
    )


@pytest.mark.django_db(transaction=True)
def test_claims_by_many_at_once_never_exceed_the_capacity(cloud):
    Host.objects.update(memory_mb=512 + 1000, memory_ratio=1.0)
    won: list[bool] = []

    def claim() -> None:
        try:
            for _ in range(5):
                won.append(claims.take(cloud.host.pk, vcpus=1, memory_mb=100, disk_gb=1))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 10
    assert Host.objects.get().memory_mb_used == 1000
