"""Several at once, dry runs, groups, and what a placement keeps."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from django.db import connections, transaction

from compute.models import Host, Instance, ServerGroup
from scheduler import cache, claims, pick
from scheduler.pick import Group, Request, evaluate, place, place_many
from tests.scheduler.views import SMALL, request


@pytest.fixture
def three(cloud):
    """Three hosts, each with room for four of SMALL."""
    Host.objects.all().delete()
    room = {"state": "up", "vcpus": 8, "memory_mb": 512 + 2048, "memory_ratio": 1.0, "disk_gb": 100}
    return [Host.objects.create(name=name, uri=f"fake://{name}", **room) for name in "abc"]


def make_group(cloud, policy, most=None) -> ServerGroup:
    return ServerGroup.objects.create(name="g", project=cloud.demo, policy=policy, max_server_per_host=most)


def member(cloud, row: ServerGroup) -> Instance:
    nano = cloud.nano
    return Instance.objects.create(
        name="web", hostname="web", project=cloud.demo, flavor=nano.snapshot(), vcpus=1, memory_mb=512, disk_gb=1,
        server_group=row, image=cloud.image,
    )  # fmt: skip


def wanted_by(cloud, row, count) -> list[Request]:
    return [Request.of(member(cloud, row)) for _ in range(count)]


def names(placements) -> list[str]:
    return [one.host.name if one.host else "" for one in placements]


def test_several_are_spread_in_one_look(three):
    placements = place_many([SMALL] * 6)
    assert sorted(names(placements)) == ["a", "a", "b", "b", "c", "c"]
    assert set(Host.objects.values_list("memory_mb_used", "instances_used")) == {(1024, 2)}
    assert all(one.explanation.chosen == name for one, name in zip(placements, names(placements), strict=True))


def test_those_that_fit_nowhere_have_no_host(three):
    placements = place_many([SMALL] * 14)
    assert names(placements).count("") == 2
    assert names(placements[:12]).count("") == 0
    assert "not enough memory on 3" in placements[-1].explanation.sentence()
    assert set(Host.objects.values_list("memory_mb_used", flat=True)) == {2048}


@pytest.mark.parametrize("meanwhile", [{"memory_mb_used": 2048}, {"enabled": False}, {"state": "down"}])
def test_a_host_that_cannot_take_several_any_more_takes_none(three, monkeypatch, meanwhile):
    real = claims.take_together

    def overtaken(wanted):
        Host.objects.filter(name="b").update(**meanwhile)
        return real(wanted)

    monkeypatch.setattr(claims, "take_together", overtaken)
    with transaction.atomic():
        placements = place_many([SMALL] * 6)
    used = dict(Host.objects.values_list("name", "instances_used"))
    assert (used["b"], used["a"] + used["c"]) == (0, 6)
    assert set(names(placements)) == {"a", "c"}
    assert Host.objects.get(name="b").memory_mb_used == meanwhile.get("memory_mb_used", 0)


def test_members_that_are_placed_together_see_who_came_between(cloud, three, monkeypatch):
    row = make_group(cloud, "anti-affinity")
    real = pick._lock_groups

    def lock(scene, planned):
        for name in "ab":
            Instance.objects.filter(pk=member(cloud, row).pk).update(host=Host.objects.get(name=name))
        real(scene, planned)

    with transaction.atomic():
        monkeypatch.setattr(pick, "_lock_groups", lock)
        placements = place_many(wanted_by(cloud, row, 2))
    assert sorted(names(placements)) == ["", "c"]


def test_one_look_is_all_that_several_ask(three, django_assert_max_num_queries):
    with transaction.atomic(), django_assert_max_num_queries(60):
        place_many([SMALL] * 12)  # a look, and a claim (UPDATE, feed, host, savepoint) for each


def test_the_lesson_of_the_field(cloud, three):
    apart = make_group(cloud, "anti-affinity")
    placements = place_many(wanted_by(cloud, apart, 4))
    assert sorted(names(placements[:3])) == ["a", "b", "c"]
    assert placements[3].host is None
    assert "has 1 of the server group's members, its policy anti-affinity allows 1 on a host" in (
        placements[3].explanation.sentence()
    )
    together = make_group(cloud, "affinity")
    assert len(set(names(place_many(wanted_by(cloud, together, 3))))) == 1


def test_one_after_another_it_is_the_same(cloud, three):
    apart = make_group(cloud, "anti-affinity")
    found = []
    for wanted in wanted_by(cloud, apart, 4):
        placement = place(wanted)
        Instance.objects.filter(pk=wanted.instance_id).update(host=placement.host)
        found.append(placement.host.name if placement.host else "")
    assert sorted(found) == ["", "a", "b", "c"]


def test_affinity_goes_where_the_group_is_until_the_host_is_full(cloud, three):
    together = make_group(cloud, "affinity")
    placements = place_many(wanted_by(cloud, together, 5))
    assert len({name for name in names(placements) if name}) == 1
    assert names(placements)[4] == ""


def test_max_server_per_host(cloud, three):
    two = make_group(cloud, "anti-affinity", 2)
    assert sorted(names(place_many(wanted_by(cloud, two, 7)))) == ["", "a", "a", "b", "b", "c", "c"]


def test_soft_policies_prefer(cloud, three):
    soft = make_group(cloud, "soft-anti-affinity")
    assert sorted(names(place_many(wanted_by(cloud, soft, 4)))[:3]) == ["a", "b", "c"]
    near = make_group(cloud, "soft-affinity")
    Host.objects.update(memory_mb=512 + 100_000)
    first, second, *_ = names(place_many(wanted_by(cloud, near, 3)))
    assert first == second


def test_a_member_does_not_stand_in_its_own_way(cloud, three):
    """A resize on the same host."""
    apart = make_group(cloud, "anti-affinity")
    one = member(cloud, apart)
    Instance.objects.filter(pk=one.pk).update(host=three[0])
    one.refresh_from_db()
    assert place(dataclasses.replace(Request.of(one), host="a", instances=0)).host == three[0]


def test_hints_about_instances_of_others_say_nothing(cloud, three):
    foreign = member(cloud, make_group(cloud, "affinity"))
    Instance.objects.filter(pk=foreign.pk).update(host=three[1])
    mine = request(project_id=cloud.demo.id, hints={"same_host": [str(foreign.pk)]})
    assert names([place(mine)]) == ["b"]
    stranger = dataclasses.replace(mine, project_id=cloud.other.id)
    assert place(stranger).host is None
    assert place(dataclasses.replace(mine, hints={"same_host": ["nonsense"]})).host is None
    away = dataclasses.replace(mine, hints={"different_host": str(foreign.pk)})
    assert "b" not in [one.name for one in evaluate(away).hosts]


def test_a_dry_run_claims_nothing_and_counts(cloud, three):
    found = evaluate(SMALL)
    assert [one.name for one in found.hosts] == ["a", "b", "c"]
    assert found.total == 12
    assert len(found.explanation.weights) == 3
    assert not Host.objects.exclude(memory_mb_used=0).exists()
    assert names(place_many([SMALL] * 13)).count("") == 1
    assert evaluate(SMALL).total == 0


@pytest.mark.parametrize(
    ("policy", "most", "total"), [("affinity", None, 4), ("anti-affinity", None, 3), ("anti-affinity", 2, 6)]
)
def test_a_dry_run_for_a_group(cloud, three, policy, most, total):
    found = evaluate(request(group=Group.of(make_group(cloud, policy, most))))
    assert found.total == total


def test_a_failed_host_is_not_tried_again(three):
    first = place(SMALL).host
    again = place(request(tried=frozenset({first.pk})))
    assert again.host not in (None, first)


def test_a_forced_host_skips_filters_and_keeps_the_claim(cloud, three):
    apart = make_group(cloud, "anti-affinity")
    first, second = wanted_by(cloud, apart, 2)
    placements = place_many([dataclasses.replace(one, host="b", forced=True) for one in (first, second)])
    assert names(placements) == ["b", "b"]
    too_big = place(request(host="b", forced=True, memory_mb=4096))
    assert too_big.host is None
    assert "wants 4096 MB, 1024 of 2048 MB free at ratio 1" in too_big.explanation.sentence()


def test_a_lost_claim_goes_to_the_next_host(three, monkeypatch):
    take, refused = claims.take, []

    def first_is_lost(host_id, **wanted):
        if not refused:
            refused.append(host_id)
            return False
        return take(host_id, **wanted)

    monkeypatch.setattr(claims, "take", first_is_lost)
    placement = place(SMALL)
    assert placement.host.name == "b"
    assert placement.explanation.rejected == [
        {"host": "a", "filter": "Claim", "why": "its room was taken by another request meanwhile"}
    ]


def run_all(*workers) -> None:
    failures: list[BaseException] = []

    def guarded(work) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=guarded, args=(work,)) for work in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("policy", "most", "placed"), [("anti-affinity", None, 3), ("anti-affinity", 2, 6), ("affinity", None, 4)]
)
def test_a_group_holds_when_its_members_come_at_once(cloud, three, policy, most, placed):
    """Each worker decides while the others have not committed; the late check makes the difference."""
    row = make_group(cloud, policy, most)
    wanted = wanted_by(cloud, row, 8)
    together = threading.Barrier(len(wanted))

    def worker(one: Request):
        def work() -> None:
            together.wait()
            with transaction.atomic():
                placement = place(one)
                if placement.host is not None:
                    Instance.objects.filter(pk=one.instance_id).update(host=placement.host)

        return work

    run_all(*[worker(one) for one in wanted])
    on = list(Instance.objects.filter(server_group=row, host__isnull=False).values_list("host__name", flat=True))
    assert len(on) == placed
    if policy == "affinity":
        assert len(set(on)) == 1
    else:
        assert {on.count(name) for name in "abc"} == {most or 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cached_from", [1, cache.CACHED_FROM])
def test_multi_creates_at_once_never_exceed_a_capacity(cloud, three, monkeypatch, cached_from):
    """Nor do they when each decides by what the process remembers."""
    monkeypatch.setattr(cache, "CACHED_FROM", cached_from)
    monkeypatch.setattr(cache, "hosts", cache.HostCache())
    kept: list[str] = []

    def work() -> None:
        with transaction.atomic():
            kept.extend(name for name in names(place_many([SMALL] * 5)) if name)

    run_all(*[work] * 4)
    assert len(kept) == 12
    assert set(Host.objects.values_list("memory_mb_used", "instances_used")) == {(2048, 4)}


def test_what_a_request_takes_from_its_rows(cloud):
    one = member(cloud, make_group(cloud, "anti-affinity", 3))
    wanted = Request.of(one, tried=[7])
    assert wanted.group == Group(one.server_group_id, "anti-affinity", 3)
    assert (wanted.project_id, wanted.instance_id, wanted.flavor_name) == (cloud.demo.id, one.id, cloud.nano.name)
    assert wanted.tried == {7}
    dry = Request.of_flavor(cloud.nano, image=cloud.image, zone="nova")
    assert (dry.memory_mb, dry.zone, dry.image_id) == (cloud.nano.memory_mb, "nova", str(cloud.image.id))
