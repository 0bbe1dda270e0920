"""Hosts, for administrators."""

import re
import uuid
from pathlib import Path

import pytest

from compute.hosts.connections import hypervisor_of
from compute.hosts.liveness import mark_silent
from compute.hosts.registration import add_host, mark_down, mark_up
from compute.models import Change, Fencing, Host
from portal.identity.actor import SYSTEM
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db


def test_hosts_show_state_and_claims(root: Persona, cloud: Cloud, browse, launch, drain) -> None:
    launch(root)
    drain()
    ((host, state, capacities),) = browse(root).get("/cloud/hosts/").context["hosts"]
    assert (host.name, state) == ("host-1", "up")
    assert [(one["used"], one["total"]) for one in capacities[:2]] == [(1, 128.0), (128, 48384.0)]


def test_the_list_asks_a_fixed_number_of_queries(root: Persona, browse, django_assert_num_queries) -> None:
    for number in range(3):
        Host.objects.create(name=f"more-{number}", uri=f"fake://more-{number}")
    client = browse(root)
    with django_assert_num_queries(6):
        client.get("/cloud/hosts/")


def test_a_host_page_shows_what_runs_there(root: Persona, alice: Persona, cloud: Cloud, browse, launch, drain) -> None:
    launch(alice, "on-it")
    drain()
    page = browse(root).get(f"/cloud/hosts/{cloud.host.pk}/").content.decode()
    for shown in ("on-it", "qemu64", "7.2.0", "demo"):
        assert shown in page
    assert browse(root).get("/cloud/hosts/999/").status_code == 404


def test_a_host_is_disabled_with_a_reason_and_enabled_again(root: Persona, cloud: Cloud, browse) -> None:
    client = browse(root)
    path = f"/cloud/hosts/{cloud.host.pk}/enable"
    assert (
        "takes no new"
        in client.post(path, {"enabled": "no", "reason": "new disks"}, headers=FRAGMENT).json()["messages"][0]["text"]
    )
    cloud.host.refresh_from_db()
    assert (cloud.host.enabled, cloud.host.disabled_reason) == (False, "new disks")
    assert b"new disks" in client.get("/cloud/hosts/").content
    client.post(path, {"enabled": "yes"})
    cloud.host.refresh_from_db()
    assert (cloud.host.enabled, cloud.host.disabled_reason) == (True, "")
    assert Change.objects.filter(kind="host", project_id="").count() == 2


def test_a_host_is_forced_down_and_believed_again(root: Persona, cloud: Cloud, browse) -> None:
    client = browse(root)
    path = f"/cloud/hosts/{cloud.host.pk}/force-down"
    client.post(path, {"forced_down": "yes"})
    cloud.host.refresh_from_db()
    assert cloud.host.forced_down
    assert b"An administrator says that it is down." in client.get("/cloud/hosts/").content
    client.post(path, {"forced_down": "no"})
    cloud.host.refresh_from_db()
    assert (cloud.host.forced_down, cloud.host.is_up) == (False, False)  # its guests may run elsewhere by now
    assert b"is looked at before it counts as up." in client.get("/cloud/hosts/").content
    client.post(path, {"forced_down": "no"})  # once more says nothing new
    mark_up(cloud.host)
    client.post(path, {"forced_down": "no"})
    cloud.host.refresh_from_db()
    assert cloud.host.is_up


def test_what_may_come_has_its_place_on_an_open_page(root: Persona, cloud: Cloud, browse) -> None:
    client, page = browse(root), f"/cloud/hosts/{cloud.host.pk}/"
    place = re.compile(r'<div [^>]*id="host-care"[^>]*>')
    assert place.search(client.get(page).content.decode())[0].endswith(" hidden>")
    mark_down(cloud.host.pk, "no route")
    text = client.get(page).content.decode()
    assert not place.search(text)[0].endswith(" hidden>") and text.index("host-care") < text.index("not fenced")


def test_a_silent_host_is_shown_as_such(root: Persona, cloud: Cloud, browse) -> None:
    mark_silent(cloud.host.pk)
    client = browse(root)
    ((_, state, _),) = client.get("/cloud/hosts/").context["hosts"]
    assert state == "silent"
    assert b"does not answer" in client.get(f"/cloud/hosts/{cloud.host.pk}/").content


def test_a_host_is_added_by_its_uri(root: Persona, browse) -> None:
    client = browse(root)
    answer = client.post("/cloud/hosts/add", {"uri": "fake://another", "name": "another"})
    made = Host.objects.get(name="another")
    assert answer["Location"] == f"/cloud/hosts/{made.pk}/"
    assert (made.state, made.zone) == ("up", "nova")
    assert b"registered already" in client.post("/cloud/hosts/add", {"uri": "fake://another"}).content


@pytest.mark.parametrize("uri", ["", "nonsense", "http://example.com/", "x" * 300])
def test_a_uri_that_leads_nowhere_is_said(root: Persona, browse, uri: str) -> None:
    answer = browse(root).post("/cloud/hosts/add", {"uri": uri})
    assert answer.status_code == 400
    assert answer.context["form"].errors["uri"]
    assert Host.objects.count() == 1


def test_a_host_that_is_down_is_fenced_on_its_page(
    root: Persona, cloud: Cloud, browse, settings, tmp_path: Path
) -> None:
    settings.FENCE_METHODS = str(tmp_path / "fence.json")
    Path(settings.FENCE_METHODS).write_text('{"ipmi": {"off": ["ipmitool", "{bmc}", "{user}"]}, "pdu": {"off": ["x"]}}')
    client, page = browse(root), f"/cloud/hosts/{cloud.host.pk}/"
    assert "It answers, and is not fenced." in client.get(page).content.decode()
    refused = client.post(page + "fence", {"method": "ipmi", "timeout": 30, "value_bmc": "-x", "value_user": "a"})
    assert refused.status_code == 400 and b"not begin with a hyphen" in refused.content
    saved = {"method": "ipmi", "timeout": 30, "value_bmc": "10.0.0.7", "value_user": "admin"}
    assert client.post(page + "fence", saved)["Location"] == page
    assert Host.objects.get().fence_values == {"bmc": "10.0.0.7", "user": "admin"}
    mark_down(cloud.host.pk, "no route")
    assert "may still run its instances" in client.get(page).content.decode()
    done = client.post(page + "fence/now", {"how": "method"}, headers=FRAGMENT).json()["messages"]
    assert done[0]["text"] == "host-1 is being switched off"
    assert "It is being switched off." in client.get(page).content.decode()
    Fencing.objects.all().delete()
    client.post(page + "fence/now", {"how": "word"})
    assert Host.objects.get().is_fenced and "Lift the fence" in client.get(page).content.decode()
    client.post(page + "fence/now", {"how": "lift"})
    assert not Host.objects.get().is_fenced
    again = client.post(page + "fence/now", {"how": "lift"}, headers=FRAGMENT).json()["messages"]
    assert again[-1:] == [{"level": "error", "text": "host-1 is not fenced."}]


def test_a_host_is_changed_on_its_form(root: Persona, cloud: Cloud, browse) -> None:
    client, path = browse(root), f"/cloud/hosts/{cloud.host.pk}/edit"
    form = client.get(path).context["form"]
    posted = {name: form[name].value() for name in form.fields}
    assert client.post(path, posted | {"name": "rack-1", "cpu_ratio": "4"})["Location"] == (
        f"/cloud/hosts/{cloud.host.pk}/"
    )
    cloud.host.refresh_from_db()
    assert (cloud.host.name, cloud.host.cpu_ratio) == ("rack-1", 4.0)
    for field, value in (("cpu_ratio", "0"), ("name", "a b"), ("uri", "ftp://x"), ("reserved_disk_gb", "-1")):
        answer = client.post(path, posted | {field: value})
        assert answer.status_code == 400
        assert answer.context["form"].errors[field]


def test_a_host_is_removed_unless_something_is_on_it(root: Persona, cloud: Cloud, browse, launch, drain) -> None:
    client, path = browse(root), f"/cloud/hosts/{cloud.host.pk}/remove"
    launch(root, "web")
    drain()
    assert client.post(path, headers=FRAGMENT).json() == {"go": f"/cloud/hosts/{cloud.host.pk}/"}
    assert b"hosting 1 instance: web" in client.get(f"/cloud/hosts/{cloud.host.pk}/").content
    root.delete(f"/compute/v2.1/servers/{root.get('/compute/v2.1/servers').json()['servers'][0]['id']}")
    drain()
    assert client.post(path, headers=FRAGMENT).json() == {"go": "/cloud/hosts/"}
    assert not Host.objects.exists()


def test_a_script_for_tls_is_downloaded(root: Persona, alice: Persona, browse, settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    path = "/cloud/hosts/tls-script"
    made = browse(root).post(path, {"address": "10.0.0.5"})
    assert made["Content-Disposition"] == 'attachment; filename="nacelle-tls-setup.sh"'
    assert "no-store" in made["Cache-Control"]
    assert b"qemu+tls://10.0.0.5/system" in made.content
    client = browse(root)
    assert client.post(path, {"address": "$(id)"})["Location"] == "/cloud/hosts/add"
    assert b"neither a host name nor an address" in client.get("/cloud/hosts/add").content
    assert browse(alice).post(path, {"address": "10.0.0.5"}).status_code == 403


def test_a_host_is_checked_on_its_page(root: Persona, cloud: Cloud, browse) -> None:
    client, page = browse(root), f"/cloud/hosts/{cloud.host.pk}/"
    assert b"It was not checked yet." in client.get(page).content
    done = client.post(page + "check", headers=FRAGMENT).json()["messages"]
    assert done == [{"level": "success", "text": "Checked host-1: 1 to look at"}]
    shown = client.get(page).content.decode()
    for text in ("guests are emulated, and slow", "Switch virtualization on", "Fake host", "Pool fake", "NUMA cell"):
        assert text in shown
    hypervisor_of(cloud.host).break_down()
    refused = client.post(page + "check", headers=FRAGMENT).json()["messages"]
    assert refused[0]["text"] == "host-1 cannot be checked: no route to host"
    assert "guests are emulated" in client.get(page).content.decode()


def test_a_clock_is_ahead_or_behind(root: Persona, browse) -> None:
    for clock, said in ((60, "ahead of"), (-60, "behind")):
        host = add_host(SYSTEM, uri=f"fake://{uuid.uuid4().hex}?clock={clock}")
        text = browse(root).get(f"/cloud/hosts/{host.pk}/").content.decode()
        assert re.search(rf">\d+\.\d\d s {said} the control node", text)
