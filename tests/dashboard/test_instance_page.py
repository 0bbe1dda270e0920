"""The page of one instance."""

import re

import pytest

from compute.errors import Conflict
from compute.models import Action, Event, Host, Instance, VmState
from portal.dashboard.views.instance import plain
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db


def test_everything_about_it(alice: Persona, browse, launch, drain) -> None:
    instance = launch(alice, "web", description="my <first>", metadata={"role": "front"}, tags=("blue",))
    drain()
    page = browse(alice).get(f"/instances/{instance.pk}/").content.decode()
    for shown in (
        str(instance.pk),
        "my &lt;first&gt;",
        "role: front",
        "blue",
        "10.78.0.",
        "m1.nano",
        "tiny",
        "default",
    ):
        assert shown in page


def test_a_member_does_not_learn_where_it_runs(alice: Persona, root: Persona, browse, launch, drain) -> None:
    instance = launch(alice)
    drain()
    path = f"/instances/{instance.pk}/"
    assert b"host-1" not in browse(alice).get(path).content
    assert b"host-1" in browse(root).get(path).content
    assert b"A host was chosen: of 1 host, 1 could take it." in browse(alice).get(path).content
    assert b"host-1 was chosen: of 1 host, 1 could take it." in browse(root).get(path).content


def test_the_action_log_shows_verdicts_and_weights(
    alice: Persona, bob: Persona, root: Persona, cloud: Cloud, browse, launch, drain
) -> None:
    full = {"vcpus": 8, "memory_mb": 600, "disk_gb": 500, "state": "up", "zone": "nova"}
    Host.objects.create(name="host-2", uri="fake://host-2", **full)
    instance = launch(alice)
    drain()
    path = f"/instances/{instance.pk}/actions"
    page = browse(root).get(path).content.decode()
    assert "<td>RamFilter</td>" in page
    assert "host-1 was chosen: of 2 hosts, " in page
    assert '<span class="badge ok">chosen</span>' in page
    for persona in (alice, bob):
        page = browse(persona).get(path).content.decode()
        assert "<td>RamFilter</td>" in page
        assert "A host was chosen: of 2 hosts, " in page
        assert "host-1" not in page
        assert "host-2" not in page


def test_why_no_host_could_take_it(alice: Persona, root: Persona, cloud: Cloud, browse, launch, drain) -> None:
    cloud.host.memory_mb = 550
    cloud.host.save()
    instance = launch(alice)
    drain()
    answer = browse(root).get(f"/instances/{instance.pk}/")
    assert "No valid host was found" in answer.context["fault"].message
    assert answer.context["placement"].found is False
    page = answer.content.decode()
    assert "Why it is nowhere" in page
    assert "<strong>host-1</strong> wants 128 MB" in page


def test_a_deleted_instance_is_not_found(alice: Persona, browse, launch, drain) -> None:
    instance = launch(alice)
    client = browse(alice)
    client.post(f"/instances/{instance.pk}/act/delete")
    drain()
    assert client.get(f"/instances/{instance.pk}/").status_code == 404
    assert client.get(f"/instances/{instance.pk}/", headers=FRAGMENT).status_code == 404


def test_the_pages_ask_a_fixed_number_of_queries(
    alice: Persona, browse, launch, drain, django_assert_num_queries
) -> None:
    instance = launch(alice)
    drain()
    client = browse(alice)
    with django_assert_num_queries(12):
        client.get(f"/instances/{instance.pk}/")
    with django_assert_num_queries(9):
        client.get(f"/instances/{instance.pk}/actions")


def test_no_page_but_the_log_asks_a_host(
    alice: Persona, browse, launch, drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = launch(alice)
    drain()

    def asked(*args: object, **kwargs: object) -> None:
        raise AssertionError("a page asked a host")

    monkeypatch.setattr("compute.hosts.connections.hypervisor_of", asked)
    monkeypatch.setattr("compute.hosts.asking.hypervisor_of", asked)
    client = browse(alice)
    for tab in ("", "log", "console", "serial", "actions", "edit"):
        assert client.get(f"/instances/{instance.pk}/{tab}").status_code == 200
    with pytest.raises(AssertionError, match="asked a host"):
        client.get(f"/instances/{instance.pk}/log/text")


def test_the_log_is_plain_text(alice: Persona, browse, launch, drain, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = launch(alice)
    drain()
    said = "\x1b[31mred\x1b[0m <img src=x onerror=alert(1)>\r\n\x1b]0;title\x07next\x00\x9b2J"
    monkeypatch.setattr("portal.dashboard.views.instance.console_log", lambda *args: said)
    answer = browse(alice).get(f"/instances/{instance.pk}/log/text")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer.content.decode() == "red <img src=x onerror=alert(1)>\nnext2J"


def test_a_log_that_cannot_be_read_says_why(alice: Persona, browse, launch, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = launch(alice)
    answer = browse(alice).get(f"/instances/{instance.pk}/log/text")
    assert (answer.status_code, answer["Content-Type"]) == (409, "text/plain; charset=utf-8")
    assert b"not ready" in answer.content


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[1;31m",
        "\x1b[?25h",
        "\x1b(B",
        "\x1bc",
        "\x1b]8;;http://evil\x07",
        "\x1bP1$r\x1b\\",
        "\x1b]0;x\x1b\\",
        "\x08",
        "\x7f",
    ],
)
def test_what_a_terminal_would_act_on_goes(sequence: str) -> None:
    assert plain(f"a{sequence}b") == "ab"


def test_lines_and_tabs_stay() -> None:
    assert plain("a\tb\r\nc\rd\r\r\ne\n") == "a\tb\nc\nd\ne\n"


def test_a_log_of_nothing_but_escapes_is_quick() -> None:
    assert plain("\x1b]" * 50_000) == ""


def test_the_action_log_has_its_steps(alice: Persona, browse, launch, drain) -> None:
    instance = launch(alice)
    drain()
    page = browse(alice).get(f"/instances/{instance.pk}/actions").content.decode()
    action = Action.objects.get()
    for shown in (action.request_id, "alice", "fetch image", "spawn", "success"):
        assert shown in page


def test_tracebacks_are_for_administrators(alice: Persona, root: Persona, browse, launch, drain) -> None:
    instance = launch(alice)
    drain()
    Event.objects.filter(name="spawn").update(result="Error", message="it failed", traceback="File secret.py, line 1")
    path = f"/instances/{instance.pk}/actions"
    assert b"secret.py" not in browse(alice).get(path).content
    assert b"it failed" in browse(alice).get(path).content
    assert b"secret.py" in browse(root).get(path).content


def test_name_and_description_change(alice: Persona, browse, launch) -> None:
    instance = launch(alice)
    client = browse(alice)
    answer = client.post(f"/instances/{instance.pk}/edit", {"name": "better", "description": "now"})
    assert answer["Location"] == f"/instances/{instance.pk}/"
    instance.refresh_from_db()
    assert (instance.name, instance.description, instance.hostname) == ("better", "now", "web")


@pytest.mark.parametrize("given", [{"name": ""}, {"name": "x" * 256}, {"name": "ok", "description": "x" * 256}])
def test_a_bad_name_changes_nothing(alice: Persona, browse, launch, given: dict[str, str]) -> None:
    instance = launch(alice)
    assert browse(alice).post(f"/instances/{instance.pk}/edit", given).status_code == 400
    instance.refresh_from_db()
    assert (instance.name, instance.description) == ("web", None)


@pytest.mark.parametrize("kind", ["novnc", "serial"])
def test_a_console_opens_with_a_fresh_address(alice: Persona, browse, launch, drain, kind: str) -> None:
    instance = launch(alice)
    drain()
    client = browse(alice)
    path = f"/instances/{instance.pk}/console/url/{kind}"
    first, second = (client.post(path, headers=FRAGMENT).json() for _ in range(2))
    assert first["url"] != second["url"]
    assert re.match(r"wss?://", first["url"])
    assert f"kind={kind}" in first["page"]


def test_a_console_of_a_stopped_instance_says_why(alice: Persona, browse, launch) -> None:
    answer = browse(alice).post(f"/instances/{launch(alice).pk}/console/url/novnc", headers=FRAGMENT)
    assert answer.status_code == 409
    assert "not running" in answer.json()["message"]


def test_a_console_address_opens_without_a_login(alice: Persona, browse, launch, drain, client) -> None:
    instance = launch(alice)
    drain()
    for kind, script in (("novnc", "screen.js"), ("serial", "serial.js")):
        page = browse(alice).post(f"/instances/{instance.pk}/console/url/{kind}").json()["page"]
        path = page[page.index("/console/") :]
        answer = client.get(path)
        assert answer.status_code == 200
        assert script in answer.content.decode()
        assert "no-store" in answer["Cache-Control"]
        assert answer["Referrer-Policy"] == "same-origin"
        assert client.get(path, headers=FRAGMENT).json() == {"refusal": ""}


def test_the_console_page_says_what_happened(alice: Persona, browse, launch, drain, client) -> None:
    instance = launch(alice)
    drain()
    page = browse(alice).post(f"/instances/{instance.pk}/console/url/novnc").json()["page"]
    path = page[page.index("/console/") :]
    Instance.objects.filter(pk=instance.pk).update(vm_state=VmState.STOPPED, power_state=4)
    answer = client.get(path)
    assert answer.status_code == 403
    assert b"The instance is not running." in answer.content
    assert client.get("/console/?kind=novnc&token=wrong").status_code == 403
    assert client.get("/console/").status_code == 403
    assert client.get("/console/?kind=spice&token=x").status_code == 404


def test_the_serial_page_takes_styles_by_nonce_alone(alice: Persona, browse, launch, drain) -> None:
    instance = launch(alice)
    drain()
    answer = browse(alice).get(f"/instances/{instance.pk}/serial")
    nonce = re.search(r'data-style-nonce="([\w-]{20,})"', answer.content.decode())
    assert nonce
    assert f"style-src 'self' 'nonce-{nonce.group(1)}'" in answer["Content-Security-Policy"]


def test_an_update_that_came_too_late_is_not_found(
    alice: Persona, browse, launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = launch(alice)

    def gone(*args: object, **kwargs: object) -> None:
        raise Conflict("locked meanwhile")

    monkeypatch.setattr("portal.dashboard.views.instance.update_instance", gone)
    answer = browse(alice).post(f"/instances/{instance.pk}/edit", {"name": "better"})
    assert answer.status_code == 400
    assert b"locked meanwhile" in answer.content
