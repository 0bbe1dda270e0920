"""The instances table and what is done from it."""

import re

import pytest
from django.test import Client

from compute.models import Action, Instance, TaskState, VmState
from portal.dashboard import menus
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db


def names(client: Client, query: str = "", path: str = "/instances/") -> list[str]:
    return [row.instance.name for row in client.get(path + query).context["rows"]]


def test_an_empty_project_is_told_what_to_do_next(alice: Persona, bob: Persona, browse) -> None:
    assert b"Launch the first instance" in browse(alice).get("/instances/").content
    assert b"may look, not launch" in browse(bob).get("/instances/").content


def test_the_table_shows_what_one_wants_to_know(alice: Persona, browse, launch, drain) -> None:
    launch(alice, "web")
    drain()
    page = browse(alice).get("/instances/").content.decode()
    for shown in ("web", "tiny", "10.78.0.", "m1.nano", "ACTIVE", "nova", "Running"):
        assert shown in page


def test_each_project_sees_its_own(alice: Persona, charlie: Persona, root: Persona, browse, launch) -> None:
    launch(alice, "alices")
    launch(charlie, "charlies")
    assert names(browse(alice)) == ["alices"]
    assert names(browse(charlie)) == ["charlies"]
    assert names(browse(root)) == []
    assert names(browse(root), path="/cloud/instances/") == ["charlies", "alices"]


def test_the_number_of_queries_does_not_grow_with_the_rows(
    alice: Persona, browse, launch, drain, django_assert_num_queries
) -> None:
    client = browse(alice)
    client.get("/instances/")
    for name in ("one", "two", "three", "four"):
        launch(alice, name)
    drain()
    with django_assert_num_queries(8):  # session, user, projects, roles; count, rows, ports, addresses
        client.get("/instances/")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?q=we", ["web"]),
        ("?q=TINY", ["db", "web"]),
        ("?q=10.78.0.2", ["web"]),
        ("?q=nothing-like-it", []),
        ("?q=%25", []),
        ("?q=' OR 1=1 --", []),
        ("?status=ACTIVE", ["web"]),
        ("?status=SHUTOFF", ["db"]),
        ("?status=nonsense", ["db", "web"]),
        ("?sort=name", ["db", "web"]),
        ("?sort=-name", ["web", "db"]),
        ("?sort=age", ["web", "db"]),
        ("?sort=password", ["db", "web"]),
        ("?page=99", ["db", "web"]),
        ("?page=x", ["db", "web"]),
    ],
)
def test_search_filter_and_order(alice: Persona, browse, launch, drain, query: str, found: list[str]) -> None:
    launch(alice, "web")
    db = launch(alice, "db")
    drain()
    Instance.objects.filter(pk=db.pk).update(vm_state=VmState.STOPPED)
    assert names(browse(alice), query) == found


def test_an_id_finds_its_instance(alice: Persona, browse, launch) -> None:
    instance = launch(alice)
    assert names(browse(alice), f"?q={str(instance.pk)[:13]}") == ["web"]


def test_a_rebooting_instance_is_found_by_its_status(alice: Persona, browse, launch) -> None:
    instance = launch(alice)
    Instance.objects.filter(pk=instance.pk).update(vm_state=VmState.ACTIVE, task_state=TaskState.REBOOTING)
    assert names(browse(alice), "?status=REBOOT") == ["web"]
    assert names(browse(alice), "?status=ACTIVE") == []
    Instance.objects.filter(pk=instance.pk).update(task_state=TaskState.POWERING_OFF)
    assert names(browse(alice), "?status=ACTIVE") == ["web"]


def test_fifty_a_page(alice: Persona, browse, launch) -> None:
    template = launch(alice, "web-00")
    for number in range(1, 52):
        template.pk, template.name = None, f"web-{number:02}"
        template.id = Instance._meta.pk.get_default()
        template.save(force_insert=True)
    assert names(browse(alice), "?sort=name")[-1] == "web-49"
    assert names(browse(alice), "?sort=name&page=2") == ["web-50", "web-51"]


def test_the_menu_is_what_the_engine_offers(alice: Persona, bob: Persona, browse, launch, drain) -> None:
    instance = launch(alice)

    def offered(persona: Persona) -> list[str]:
        page = browse(persona).get("/instances/").content.decode()
        return re.findall(rf"/instances/{instance.pk}/act/(\w+)", page)

    assert offered(alice) == ["lock", "delete"]
    drain()
    running = offered(alice)
    assert running[:2] == ["stop", "reboot"] and running[-1] == "delete" and "start" not in running
    instance.refresh_from_db()
    assert running == [one.name for one in menus.entries(instance, alice.actor) if not one.page]
    assert offered(bob) == []


def test_stop_is_asked_for_and_shown_at_once(alice: Persona, browse, launch, drain) -> None:
    instance = launch(alice)
    drain()
    client = browse(alice)
    answer = client.post(f"/instances/{instance.pk}/act/stop", headers=FRAGMENT)
    assert answer.json() == {"messages": [{"level": "success", "text": "Shut off: web"}]}
    row = client.get("/instances/").context["rows"][0]
    assert (row.instance.task_state, [entry.name for entry in row.menu]) == ("powering-off", ["lock", "delete"])
    drain()
    assert client.get("/instances/").context["rows"][0].instance.status == "SHUTOFF"


def test_without_scripts_an_action_leads_back(alice: Persona, browse, launch, drain) -> None:
    instance = launch(alice)
    drain()
    answer = browse(alice).post(f"/instances/{instance.pk}/act/stop", {"from": "instance"}, follow=True)
    assert answer.redirect_chain == [(f"/instances/{instance.pk}/", 302)]
    assert b"Shut off: web" in answer.content


def test_what_the_state_forbids_is_said_and_changes_nothing(alice: Persona, browse, launch) -> None:
    instance = launch(alice)
    answer = browse(alice).post(f"/instances/{instance.pk}/act/start", headers=FRAGMENT)
    told = answer.json()["messages"][0]
    assert told["level"] == "error"
    assert "vm_state building" in told["text"]
    assert Action.objects.count() == 1


@pytest.mark.parametrize("name", ["create", "nonsense", "__class__"])
def test_only_operations_of_the_menu_have_an_address(alice: Persona, browse, launch, name: str) -> None:
    assert browse(alice).post(f"/instances/{launch(alice).pk}/act/{name}").status_code == 404
    assert Action.objects.count() == 1


def test_several_at_once(alice: Persona, browse, launch, drain) -> None:
    instances = [launch(alice, name) for name in ("one", "two")]
    drain()
    ticked = [str(one.pk) for one in instances]
    answer = browse(alice).post("/instances/bulk", {"operation": "stop", "instance": ticked}, headers=FRAGMENT)
    assert answer.json()["messages"] == [{"level": "success", "text": "Shut off: 2 instances"}]
    drain()
    assert set(Instance.objects.values_list("vm_state", flat=True)) == {VmState.STOPPED}


def test_several_at_once_say_who_refused(alice: Persona, charlie: Persona, browse, launch, drain) -> None:
    mine = launch(alice, "mine")
    foreign = launch(charlie, "foreign")
    drain()
    ticked = [str(mine.pk), str(foreign.pk), "nonsense"]
    answer = browse(alice).post("/instances/bulk", {"operation": "delete", "instance": ticked}, headers=FRAGMENT)
    levels = [one["level"] for one in answer.json()["messages"]]
    assert levels == ["success", "error", "error"]
    drain()
    assert list(Instance.objects.alive().values_list("name", flat=True)) == ["foreign"]


def test_nothing_ticked(alice: Persona, browse) -> None:
    answer = browse(alice).post("/instances/bulk", {"operation": "stop"}, headers=FRAGMENT)
    assert answer.json()["messages"] == [{"level": "info", "text": "No instance was ticked."}]


def test_a_fragment_is_the_page_without_its_shell(alice: Persona, browse, launch) -> None:
    launch(alice)
    fragment = browse(alice).get("/instances/", headers=FRAGMENT).content.decode()
    assert 'id="instances"' in fragment
    assert 'class="side"' not in fragment
    assert "<script" not in fragment


def test_the_overview_counts_and_explains(alice: Persona, root: Persona, cloud: Cloud, browse, launch, drain) -> None:
    launch(alice, "fine")
    drain()
    cloud.host.state, cloud.host.state_reason = "down", "nobody answers"
    cloud.host.save()
    launch(alice, "stuck")
    drain()
    context = browse(alice).get("/").context
    assert (context["counts"]["active"], context["counts"]["error"]) == (1, 1)
    assert context["quota"]["instances"] == {"used": 2, "total": 10}
    assert [instance.name for instance, _ in context["failed"]] == ["stuck"]
    assert "No valid host" in context["failed"][0][1]
    assert context["hosts_in_trouble"] == []
    assert b"nobody answers" in browse(root).get("/").content


def test_the_overview_asks_a_fixed_number_of_queries(alice: Persona, browse, launch, django_assert_num_queries) -> None:
    client = browse(alice)
    for name in ("one", "two", "three"):
        launch(alice, name)
    with django_assert_num_queries(12):
        client.get("/")
