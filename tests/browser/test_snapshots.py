"""The tab of snapshots in a real browser: taken, gone back to and deleted, seen by others as it happens."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from compute.models import Instance, SnapshotSchedule
from tests.browser.conftest import Visitor
from tests.browser.test_stories import launch, never_reloads, was_not_reloaded
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.browser
PATIENCE = 20_000


@pytest.fixture
def web(server: object, cloud: Cloud, alice: Persona) -> Instance:
    return launch(cloud, alice, "web")


def test_there_and_back_again(visit: Callable[..., Visitor], web: Instance) -> None:
    tab = f"/instances/{web.pk}/snapshots"
    onlooker = visit().log_in("bob")
    onlooker.goto(tab)
    page = visit().log_in("alice")
    page.goto(tab)
    expect(page.locator("#instance-head .status")).to_have_text("ACTIVE", timeout=PATIENCE)
    never_reloads(onlooker)
    for name in ("before", "after"):
        page.fill("#id_name", name)
        page.check("#id_memory")
        page.click("#take button[type=submit]")
        expect(page.locator(".tree li.current")).to_contain_text(name, timeout=PATIENCE)
        expect(onlooker.locator(".tree li.current")).to_contain_text(name, timeout=PATIENCE)

    never_reloads(page)
    before = page.locator(".tree li", has_text="before").first
    before.get_by_role("button", name="Revert").first.click()
    page.click("[popover]:popover-open >> text=With its memory")
    expect(page.locator("dialog#ask")).to_contain_text("Go back to before?")
    page.click("dialog >> text=Cancel")
    expect(page.locator(".tree li.current")).to_contain_text("after")
    before.get_by_role("button", name="Revert").first.click()
    page.click("[popover]:popover-open >> text=Its disks, and stay off")
    page.click("dialog >> button#ask-yes")
    expect(page.locator("#instance-head .status")).to_have_text("SHUTOFF", timeout=PATIENCE)
    expect(page.locator(".tree li.current > .node")).to_contain_text("before")
    expect(onlooker.locator(".tree li.current > .node")).to_contain_text("before", timeout=PATIENCE)

    page.get_by_role("button", name="Delete before").click()
    page.click("dialog >> button#ask-yes")
    expect(page.locator("#snapshots")).not_to_contain_text("before", timeout=PATIENCE)
    expect(onlooker.locator("#snapshots")).not_to_contain_text("before", timeout=PATIENCE)
    expect(page.locator(".tree")).to_contain_text("after")
    expect(onlooker.get_by_role("button", name="Revert")).to_have_count(0)
    was_not_reloaded(page)
    was_not_reloaded(onlooker)


def test_a_schedule_is_set_up_and_switched_off(visit: Callable[..., Visitor], web: Instance) -> None:
    page = visit().log_in("alice")
    page.goto(f"/instances/{web.pk}/snapshots")
    page.click("text=New schedule")
    page.fill("#id_name", "nightly")
    page.fill("#id_time", "03:15")
    page.fill("#id_time_zone", "Europe/Berlin")
    page.click("button:has-text('Save')")
    page.wait_for_url(re.compile("/snapshots$"))
    never_reloads(page)
    line = page.locator("tr", has_text="nightly")
    expect(line).to_contain_text("each day at 03:15")
    line.get_by_role("button", name="Switch off").click()
    expect(line.get_by_role("button", name="Switch on")).to_be_visible(timeout=PATIENCE)
    was_not_reloaded(page)
    page.click("nav >> text=Schedules")
    expect(page.locator("tr", has_text="nightly")).to_contain_text("web")
    assert SnapshotSchedule.objects.get().enabled is False
