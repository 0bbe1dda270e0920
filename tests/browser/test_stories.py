"""What people do at the portal, in a real browser. No page may be reloaded to become true."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from compute.instances import update_instance
from compute.models import Instance
from compute.operations.create import BootRequest, create
from tests.browser.conftest import Server, Visitor
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]
# Changes show after 0.2 to 0.5 s on a quiet machine; tests run on busy ones.
SOON = 3_000


def row(page: Page, name: str):
    return page.locator("tr", has=page.get_by_role("link", name=name, exact=True))


def launch(cloud: Cloud, persona: Persona, name: str) -> Instance:
    wanted = BootRequest(name=name, flavor_id=cloud.nano.id, image_id=str(cloud.image.id))
    return create(persona.actor, wanted)[0]


def never_reloads(page: Page) -> None:
    page.evaluate("window.neverReloaded = true")


def was_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.neverReloaded") is True


def test_from_the_login_to_a_running_instance_and_its_end(visit: Visit, alice: Persona) -> None:
    page = visit().log_in("alice")
    page.click("text=Launch instance")
    page.fill("#id_name", "web")
    page.check("text=m1.nano")
    expect(page.locator("[data-quota=instances] [data-figures]")).to_have_text("1 of 10")
    page.click("button:has-text('Launch')")
    page.wait_for_url(re.compile(r"/instances/[0-9a-f-]{36}/"))
    expect(page.locator("h1")).to_have_text("web")

    never_reloads(page)
    expect(page.locator("#instance-head .status")).to_have_text("ACTIVE", timeout=10_000)
    was_not_reloaded(page)

    page.click("nav >> text=Instances")
    expect(page.locator("[data-live-state]")).to_have_attribute("data-state", "on")
    never_reloads(page)
    web = row(page, "web")
    expect(web).to_contain_text("ACTIVE")
    web.get_by_role("button", name="Actions of web").click()
    page.click("[popover]:popover-open >> text=Shut off")
    expect(page.locator("dialog#ask")).to_contain_text("Shut off web?")
    page.click("dialog >> text=Cancel")
    expect(web).to_contain_text("ACTIVE")
    web.get_by_role("button", name="Actions of web").click()
    page.click("[popover]:popover-open >> text=Shut off")
    page.click("dialog >> button#ask-yes")
    expect(web).to_contain_text("SHUTOFF", timeout=10_000)
    web.get_by_role("checkbox").check()
    page.click(".bulkbar >> text=Delete")
    page.click("dialog >> button#ask-yes")
    expect(page.locator("h2:has-text('No instance yet')")).to_be_visible(timeout=10_000)
    was_not_reloaded(page)
    assert not Instance.objects.alive().exists()


def test_what_others_do_is_seen_at_once(visit: Visit, cloud: Cloud, alice: Persona) -> None:
    page = visit().log_in("alice")
    page.goto("/instances/")
    expect(page.locator("[data-live-state]")).to_have_attribute("data-state", "on")
    never_reloads(page)
    instance = launch(cloud, alice, "by-another")
    expect(row(page, "by-another")).to_be_visible(timeout=SOON)
    expect(row(page, "by-another")).to_contain_text("ACTIVE", timeout=10_000)
    update_instance(alice.actor, instance, fields={"name": "renamed"})
    expect(row(page, "renamed")).to_be_visible(timeout=SOON)
    was_not_reloaded(page)
    shown = page.locator("#instances tbody").inner_text()
    page.reload()
    fresh = page.locator("#instances tbody").inner_text()
    assert re.sub(r"\d+ (s|min)", "", shown) == re.sub(r"\d+ (s|min)", "", fresh)


def test_ticks_and_open_menus_survive_what_changes_around_them(visit: Visit, cloud: Cloud, alice: Persona) -> None:
    launch(cloud, alice, "first")
    page = visit().log_in("alice")
    page.goto("/instances/")
    expect(row(page, "first")).to_contain_text("ACTIVE", timeout=10_000)
    row(page, "first").get_by_role("checkbox").check()
    row(page, "first").get_by_role("button", name="Actions of first").click()
    launch(cloud, alice, "second")
    expect(row(page, "second")).to_contain_text("ACTIVE", timeout=10_000)
    expect(row(page, "first").get_by_role("checkbox")).to_be_checked()
    expect(page.locator("[popover]:popover-open >> text=Hard reboot")).to_be_visible()


def test_projects_are_apart(visit: Visit, cloud: Cloud, alice: Persona, charlie: Persona) -> None:
    page, stranger = visit().log_in("alice"), visit().log_in("charlie")
    page.goto("/instances/")
    stranger.goto("/instances/")
    expect(stranger.locator("[data-live-state]")).to_have_attribute("data-state", "on")
    launch(cloud, alice, "private-thing")
    expect(row(page, "private-thing")).to_contain_text("ACTIVE", timeout=10_000)
    assert "private-thing" not in stranger.content()
    stranger.reload()
    expect(stranger.locator("h2:has-text('No instance yet')")).to_be_visible()


def test_a_page_of_a_deleted_instance_leads_to_the_list(visit: Visit, cloud: Cloud, alice: Persona) -> None:
    instance = launch(cloud, alice, "short-lived")
    visitor = visit()
    page = visitor.log_in("alice")
    page.goto(f"/instances/{instance.pk}/")
    expect(page.locator("#instance-head .status")).to_have_text("ACTIVE", timeout=10_000)
    page.click("[aria-label='More actions']")
    page.click("[popover]:popover-open >> text=Delete")
    page.click("dialog >> button#ask-yes")
    page.wait_for_url("**/instances/", timeout=10_000)
    visitor.complaints = [one for one in visitor.complaints if "404" not in one]  # how the page learns of it


def test_names_of_others_are_text(visit: Visit, cloud: Cloud, alice: Persona) -> None:
    nasty = "<img src=x onerror=window.hit=1>"
    instance = launch(cloud, alice, nasty)
    page = visit().log_in("alice")
    for path in ("/", "/instances/", f"/instances/{instance.pk}/", f"/instances/{instance.pk}/actions"):
        page.goto(path)
        expect(page.get_by_text(nasty).first).to_be_visible()
    page.goto("/instances/")
    page.get_by_role("button", name=f"Actions of {nasty}").click()
    page.click("[popover]:popover-open >> text=Delete")
    expect(page.locator("#ask-title")).to_have_text(f"Delete {nasty}?")
    assert page.evaluate("window.hit") is None


def test_searching_while_typing(visit: Visit, cloud: Cloud, alice: Persona) -> None:
    for name in ("alpha", "beta"):
        launch(cloud, alice, name)
    page = visit().log_in("alice")
    page.goto("/instances/")
    page.fill("#q", "alp")
    expect(row(page, "beta")).to_have_count(0)
    expect(row(page, "alpha")).to_be_visible()
    assert "q=alp" in page.url
    page.fill("#q", "nothing")
    expect(page.locator("h2:has-text('No instance matches')")).to_be_visible()
    page.fill("#q", "")
    expect(row(page, "beta")).to_be_visible()


def test_the_serial_console_echoes(visit: Visit, cloud: Cloud, alice: Persona) -> None:
    instance = launch(cloud, alice, "talker")
    page = visit().log_in("alice")
    page.goto(f"/instances/{instance.pk}/")
    expect(page.locator("#instance-head .status")).to_have_text("ACTIVE", timeout=10_000)
    page.click("text=Serial console")
    expect(page.locator("[data-console-state]")).to_have_text("Connected")
    page.locator(".xterm-helper-textarea").press_sequentially("hello there\n")
    expect(page.locator(".xterm-rows")).to_contain_text("hello there")


def test_the_log_is_shown_as_text(visit: Visit, cloud: Cloud, alice: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "\x1b[1mlogin:\x1b[0m <img src=x onerror=window.hit=1>"
    monkeypatch.setattr("portal.dashboard.views.instance.console_log", lambda *args: said)
    instance = launch(cloud, alice, "talker")
    page = visit().log_in("alice")
    page.goto(f"/instances/{instance.pk}/log")
    expect(page.locator("#log")).to_have_text("login: <img src=x onerror=window.hit=1>")
    assert page.evaluate("window.hit") is None


def test_every_page_is_quiet_in_both_themes_and_at_phone_width(visit: Visit, cloud: Cloud, root: Persona) -> None:
    instance = launch(cloud, root, "web")
    paths = [
        "/", "/instances/", "/instances/launch", f"/instances/{instance.pk}/", f"/instances/{instance.pk}/actions",
        f"/instances/{instance.pk}/log", f"/instances/{instance.pk}/edit", "/images/", f"/images/{cloud.image.pk}/",
        "/images/upload", "/flavors/", "/flavors/create", "/keypairs/", "/networks/", f"/networks/{cloud.network.pk}/",
        "/access/", "/cloud/hosts/", f"/cloud/hosts/{cloud.host.pk}/", "/cloud/hosts/add", "/cloud/instances/",
        "/password", "/admin/", "/admin/compute/instance/", "/admin/identity/user/add/",
    ]  # fmt: skip
    for scheme, width in (("light", 1280), ("dark", 390)):
        page = visit(color_scheme=scheme, viewport={"width": width, "height": 800}).log_in("root")
        for path in paths:
            page.goto(path)
            page.wait_for_load_state("load")
            if not path.startswith("/admin/"):
                assert (path, page.evaluate("document.documentElement.scrollWidth")) <= (path, width)
        ground = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
        assert ground == ("rgb(246, 247, 249)" if scheme == "light" else "rgb(15, 18, 22)")


def test_the_theme_is_remembered(visit: Visit, alice: Persona) -> None:
    page = visit(color_scheme="light").log_in("alice")
    page.click("[data-theme-toggle]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto("/images/")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.click("[data-theme-toggle]")
    assert page.evaluate("document.documentElement.dataset.theme") is None


def test_a_phone_has_a_drawer(visit: Visit, alice: Persona) -> None:
    page = visit(viewport={"width": 390, "height": 800}).log_in("alice")
    expect(page.locator("#side")).to_be_hidden()
    page.click("[aria-label=Navigation]")
    page.click("#side >> text=Instances")
    page.wait_for_url("**/instances/")


def test_the_keyboard_is_enough(visit: Visit, cloud: Cloud, alice: Persona) -> None:
    launch(cloud, alice, "web")
    page = visit().log_in("alice")
    page.goto("/instances/")
    expect(row(page, "web")).to_contain_text("ACTIVE", timeout=10_000)
    page.get_by_role("button", name="Actions of web").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Details"
    page.keyboard.press("Escape")
    expect(page.locator("[popover]:popover-open")).to_have_count(0)


def test_the_page_comes_back_after_the_socket_was_lost(
    visit: Visit, server: Server, cloud: Cloud, alice: Persona
) -> None:
    page = visit().log_in("alice")
    page.goto("/instances/")
    expect(page.locator("[data-live-state]")).to_have_attribute("data-state", "on")
    never_reloads(page)
    with server.without_sockets():
        expect(page.locator("[data-live-state]")).to_have_attribute("data-state", "off")
        launch(cloud, alice, "meanwhile")
    expect(row(page, "meanwhile")).to_be_visible(timeout=10_000)
    expect(page.locator("[data-live-state]")).to_have_attribute("data-state", "on")
    was_not_reloaded(page)
