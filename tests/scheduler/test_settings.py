"""Which filters and weighers are on: settings that every process follows from its next decision on."""

from __future__ import annotations

import pytest
from django.db import transaction

from compute.errors import Conflict, Invalid, NotFound
from compute.models import Change, Host
from portal.identity.policy import Forbidden
from scheduler import configuration, parts, pipeline
from scheduler.configuration import Wish
from scheduler.filters import FILTERS
from scheduler.filters.base import name_of
from scheduler.models import Part, PartKind
from scheduler.pick import place
from scheduler.weighers import WEIGHERS
from tests.scheduler.views import SMALL

SITE = "tests.scheduler.site_parts."
FILTER, WEIGHER = PartKind.FILTER, PartKind.WEIGHER


def names(kind: str) -> list[str]:
    made = pipeline.current().filters if kind == FILTER else pipeline.current().weighers
    return [name_of(one) for one in made]


@pytest.fixture
def admin(root):
    return root.actor


def test_without_settings_it_is_as_the_code_says(db):
    assert names(FILTER) == [one.__name__ for one in FILTERS if one.default]
    assert names(WEIGHER) == [one.__name__ for one in WEIGHERS if one.default]
    assert {"AllHostsFilter", "JsonFilter", "SimpleCIDRAffinityFilter", "IoOpsFilter"}.isdisjoint(names(FILTER))


def test_each_has_a_sentence_and_clean_defaults():
    for one in (*FILTERS, *WEIGHERS):
        assert one.sentence.endswith("."), one
        made = one()
        for option in one.options:
            assert option.clean(made.chosen[option.name]) == option.default
    for weigher in WEIGHERS:
        assert weigher.multiplier_key.endswith("_weight_multiplier")


def test_a_filter_is_turned_on_and_off_and_the_next_decision_knows(admin):
    assert "AllHostsFilter" not in names(FILTER)
    configuration.change(admin, FILTER, Wish("AllHostsFilter", enabled=True))
    assert "AllHostsFilter" in names(FILTER)
    configuration.change(admin, FILTER, Wish("AllHostsFilter", enabled=False))
    assert "AllHostsFilter" not in names(FILTER)
    assert Change.objects.filter(kind="scheduler").count() == 2


def test_an_unchanged_pipeline_costs_one_query(db, django_assert_num_queries):
    pipeline.current()
    with django_assert_num_queries(1):
        assert pipeline.current() is pipeline.current.__globals__["_Kept"].pipeline


def test_a_change_that_is_rolled_back_does_not_count(admin):
    before = names(FILTER)
    with pytest.raises(RuntimeError), transaction.atomic():
        configuration.change(admin, FILTER, Wish("AllHostsFilter", enabled=True))
        assert "AllHostsFilter" in names(FILTER)
        raise RuntimeError
    assert names(FILTER) == before


def test_what_the_claim_asks_for_cannot_be_off(admin):
    with pytest.raises(Invalid, match="RamFilter cannot be off"):
        configuration.change(admin, FILTER, Wish("RamFilter", enabled=False))
    assert not Part.objects.exists()


def test_the_order_is_changed(admin):
    configuration.move(admin, FILTER, "ComputeFilter", by=-100)
    assert names(FILTER)[0] == "ComputeFilter"
    configuration.move(admin, FILTER, "ComputeFilter", by=1)
    assert names(FILTER)[1] == "ComputeFilter"
    configuration.move(admin, WEIGHER, "RAMWeigher", by=1)
    assert names(WEIGHER)[:2] == ["CPUWeigher", "RAMWeigher"]


def test_options_and_multipliers(admin):
    configuration.change(admin, FILTER, Wish("NumInstancesFilter", enabled=True, options={"max_instances_per_host": 7}))
    configuration.change(admin, WEIGHER, Wish("RAMWeigher", multiplier=-2.5))
    made = next(one for one in pipeline.current().filters if name_of(one) == "NumInstancesFilter")
    assert made.chosen == {"max_instances_per_host": 7}
    assert next(one for one in pipeline.current().weighers if name_of(one) == "RAMWeigher").multiplier == -2.5


@pytest.mark.parametrize(
    ("kind", "wish", "said"),
    [
        (FILTER, Wish("NumInstancesFilter", options={"max_instances_per_host": 0}), "at least 1"),
        (FILTER, Wish("NumInstancesFilter", options={"max_instances_per_host": "many"}), "a whole number"),
        (FILTER, Wish("NumInstancesFilter", options={"max_instances_per_host": True}), "a whole number"),
        (FILTER, Wish("NumInstancesFilter", options={"colour": 1}), "colour is no option"),
        (FILTER, Wish("IsolatedHostsFilter", options={"isolated_hosts": 3}), "a list"),
        (FILTER, Wish("MetricsFilter", options={"weight_setting": ["cpu.heat=1"]}), "no metric cpu.heat"),
        (FILTER, Wish("RamFilter", multiplier=1.0), "has no multiplier"),
        (WEIGHER, Wish("RAMWeigher", multiplier=float("nan")), "is a number"),
        (WEIGHER, Wish("PCIWeigher", multiplier=-1.0), "at least 0"),
        (WEIGHER, Wish("MetricsWeigher", options={"weight_setting": ["cpu.percent=x"]}), "x is no number"),
        (WEIGHER, Wish("ImagePropertiesWeigher", options={"image_props_weight_setting": ["os=x"]}), "x is no number"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(admin, kind, wish, said):
    with pytest.raises(Invalid, match=said):
        configuration.change(admin, kind, wish)
    assert not Part.objects.exists()


def test_only_administrators(alice):
    for attempt in (
        lambda: configuration.change(alice.actor, FILTER, Wish("AllHostsFilter", enabled=True)),
        lambda: configuration.move(alice.actor, FILTER, "RamFilter", by=1),
        lambda: configuration.add(alice.actor, FILTER, SITE + "RackFilter"),
        lambda: configuration.remove(alice.actor, FILTER, SITE + "RackFilter"),
        lambda: configuration.replace(alice.actor, FILTER, []),
        lambda: configuration.reset(alice.actor),
    ):
        with pytest.raises(Forbidden):
            attempt()


def test_a_site_adds_its_own_by_a_dotted_path(cloud, admin):
    configuration.add(admin, FILTER, SITE + "RackFilter")
    configuration.add(admin, WEIGHER, SITE + "NameWeigher")
    Host.objects.create(name="rack-a", uri="fake://a", state="up", vcpus=8, memory_mb=8192, disk_gb=100)
    Host.objects.create(name="zoo-a", uri="fake://z", state="up", vcpus=8, memory_mb=8192, disk_gb=100)
    placement = place(SMALL)
    assert placement.explanation.chosen == "zoo-a"
    assert {
        "host": "host-1",
        "filter": "RackFilter",
        "why": "host-1 is not in rack a",
    } in placement.explanation.rejected
    with pytest.raises(Conflict):
        configuration.add(admin, FILTER, SITE + "RackFilter")
    configuration.remove(admin, FILTER, SITE + "RackFilter")
    assert "RackFilter" not in names(FILTER)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("RackFilter", "no dotted path"),
        ("a b.c", "no dotted path"),
        ("no_such_module.RackFilter", "cannot be imported: ModuleNotFoundError"),
        (SITE + "NoSuchFilter", "has no class NoSuchFilter"),
        (SITE + "NOT_A_CLASS", "has no class"),
        (SITE + "NotAFilter", "not derived from scheduler.filters.base.HostFilter"),
        (SITE + "NameWeigher", "is no filter"),
        (SITE + "EmptyFilter", "has neither keep"),
        (SITE + "UnmakeableFilter", "cannot be made: RuntimeError: no rack file"),
        ("scheduler.filters.RamFilter", "one of Nacelle's own"),
        ("scheduler.filters.HostFilter", "one of Nacelle's own"),
    ],
)
def test_a_path_that_names_no_filter_is_refused_with_the_reason(admin, path, said):
    with pytest.raises(Invalid, match=said):
        configuration.add(admin, FILTER, path)
    assert not Part.objects.exists()


def test_one_that_cannot_be_imported_any_more_is_left_out_and_reported(cloud, admin):
    configuration.add(admin, FILTER, SITE + "RackFilter")
    Part.objects.filter(name=SITE + "RackFilter").update(name="gone_module.RackFilter")
    pipeline.forget()
    placement = place(SMALL)
    assert placement.host == cloud.host
    (note,) = placement.explanation.notes
    assert note.startswith("gone_module.RackFilter is left out: gone_module cannot be imported")
    assert parts.setting(FILTER, "gone_module.RackFilter").problem


def test_stored_options_that_are_wrong_by_now_are_reported(cloud, admin):
    configuration.change(admin, FILTER, Wish("NumInstancesFilter", enabled=True))
    Part.objects.filter(name="NumInstancesFilter").update(options={"gone": 1})
    pipeline.forget()
    placement = place(SMALL)
    assert placement.host == cloud.host
    assert placement.explanation.notes == ["NumInstancesFilter is left out: gone is no option here."]


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (FILTER, "RaisingFilter", "RaisingFilter does not work and was left out: KeyError"),
        (FILTER, "RaisingWhyFilter", "RaisingWhyFilter does not work and was left out: KeyError"),
        (WEIGHER, "RaisingWeigher", "RaisingWeigher does not work and was left out: ZeroDivisionError"),
    ],
)
def test_one_that_raises_is_left_out_and_reported(cloud, admin, kind, name, said):
    configuration.add(admin, kind, SITE + name)
    placement = place(SMALL)
    assert placement.host == cloud.host
    assert placement.explanation.notes[0].startswith(said)


def test_the_sites_settings_name_some_too(cloud, admin, settings):
    settings.SCHEDULER_FILTERS = (SITE + "RackFilter", "gone_module.X")
    pipeline.forget()
    found = pipeline.current()
    assert "RackFilter" in [name_of(one) for one in found.filters]
    assert found.problems[0].startswith("gone_module.X is left out")
    with pytest.raises(Conflict):
        configuration.remove(admin, FILTER, SITE + "RackFilter")
    configuration.change(admin, FILTER, Wish(SITE + "RackFilter", enabled=False))
    assert "RackFilter" not in names(FILTER)
    pipeline.forget()


def test_everything_at_once_and_back(admin):
    configuration.replace(
        admin, FILTER, [Wish(SITE + "RackFilter"), Wish("ComputeFilter"), Wish("AllHostsFilter", enabled=True)]
    )
    assert names(FILTER)[:3] == ["RackFilter", "ComputeFilter", "AllHostsFilter"]
    assert "RamFilter" in names(FILTER)
    with pytest.raises(Invalid, match="named twice"):
        configuration.replace(admin, FILTER, [Wish("RamFilter"), Wish("RamFilter")])
    configuration.replace(admin, FILTER, [Wish("RamFilter")])
    assert names(FILTER)[0] == "RamFilter"
    assert "RackFilter" not in names(FILTER)
    configuration.reset(admin)
    assert names(FILTER) == [one.__name__ for one in FILTERS if one.default]


def test_what_is_not_there_is_not_found(admin):
    with pytest.raises(NotFound):
        configuration.change(admin, FILTER, Wish("RAMWeigher", enabled=True))
    with pytest.raises(Conflict):
        configuration.remove(admin, FILTER, "RamFilter")
