"""Charts of the load, in a real browser: they draw, go on by themselves, and can be read by who does not see them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from compute.models import Host, Instance, Sample, Series
from compute.statistics.packing import pack_sample
from compute.statistics.rolling import DAY, HOUR, Roller
from tests.browser.conftest import Visitor
from tests.conftest import Cloud, Persona
from tests.statistics.conftest import instance

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]
__all__ = ["instance"]


def measure(host: Host, web: Instance, moments: range) -> None:
    """A host and an instance whose days are longer than their nights."""
    series, _ = Series.objects.get_or_create(host=host, instance=web)

    def sample(at: int) -> Sample:
        wave = (1 + math.sin(at / DAY * 2 * math.pi) * 0.8 + math.sin(at / 400) * 0.15) / 2
        of_host = (60 * wave, 12_000 + 6000 * wave, 220.5, 7, 3e6 * wave, 9e6 * wave, 2e7 * wave, 6e6 * wave)
        of_web = (90 * wave, 100, 1e6 * wave, 5e6 * wave, 40 * wave, 120 * wave, 1e7 * wave, 3e6 * wave)
        return Sample(host=host, at=at, values=pack_sample(of_host, {series.pk: of_web}))

    Sample.objects.bulk_create([sample(at) for at in moments], batch_size=2000)


@pytest.fixture
def past(cloud: Cloud, instance: Instance) -> None:
    """Thirty days, at the levels at which they are kept."""
    now = int(time.time())
    measure(cloud.host, instance, range(now - 30 * DAY, now - 2 * HOUR, 600))
    measure(cloud.host, instance, range(now - 2 * HOUR, now, 10))
    roller = Roller()
    while roller.turn([cloud.host.pk], seconds=60):
        pass


def look(page: Page, name: str) -> None:
    """Keep a picture, for whoever asks for them."""
    if folder := os.environ.get("NACELLE_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def charts_of(page: Page) -> Any:
    return page.locator("#load figure.chart")


@pytest.mark.parametrize("looks", ["light", "dark"])
def test_charts_of_an_instance(visit: Visit, alice: Persona, instance: Instance, past: None, looks: str) -> None:
    page = visit(color_scheme=looks).log_in("alice")
    page.goto(f"/instances/{instance.pk}/")
    page.get_by_role("link", name="Load", exact=True).click()
    expect(page.locator("#load svg.plot")).to_have_count(5)
    for span in ("1h", "24h", "7d", "30d"):
        page.get_by_role("button", name=span, exact=True).click()
        cpu = page.get_by_role("img", name=f"CPU over {span}.")
        expect(cpu).to_have_count(1)
        assert "at most" in (cpu.get_attribute("aria-label") or "")
        assert (cpu.locator("path.stroke").get_attribute("d") or "").count("L") > 100
        look(page, f"instance-{looks}-{span}")
    network = charts_of(page).filter(has_text="Network")
    expect(network.locator(".value")).to_have_count(2)
    expect(network.locator(".now")).to_contain_text("in ")
    expect(network.locator(".now")).to_contain_text("MiB/s")
    page.get_by_text("As a table").click()
    rows = page.locator(".as-table tbody tr")
    expect(rows).not_to_have_count(0)
    assert 12 <= rows.count() <= 25
    expect(page.locator(".as-table th").first).to_have_text("Time")
    look(page, f"instance-{looks}-table")


@pytest.mark.parametrize("width", [1280, 390])
def test_charts_of_a_host(visit: Visit, root: Persona, cloud: Cloud, past: None, width: int) -> None:
    page = visit(viewport={"width": width, "height": 900}).log_in("root")
    page.goto(f"/cloud/hosts/{cloud.host.pk}/")
    expect(page.locator("#load svg.plot")).to_have_count(6)
    look(page, f"host-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="30d", exact=True).click()
    expect(page.get_by_role("img", name="Memory over 30d.")).to_have_count(1)
    page.goto("/cloud/hosts/")
    expect(page.locator(f"#spark-{cloud.host.pk} svg path")).to_have_count(1)
    expect(page.locator(f"#spark-{cloud.host.pk}")).to_contain_text("%")
    look(page, f"hosts-{width}")


def test_a_chart_goes_on_by_itself(visit: Visit, alice: Persona, cloud: Cloud, instance: Instance) -> None:
    page = visit().log_in("alice")
    page.goto(f"/instances/{instance.pk}/load")
    expect(page.locator("#load svg.plot").first).to_contain_text("Nothing measured")
    page.evaluate("window.neverReloaded = true")
    now = int(time.time())
    measure(cloud.host, instance, range(now - 60, now, 10))
    expect(page.get_by_role("img", name="CPU over 1h.").locator("path.stroke")).to_have_count(1, timeout=30_000)
    assert page.evaluate("window.neverReloaded") is True


def test_the_pointer_reads_a_moment(visit: Visit, alice: Persona, instance: Instance, past: None) -> None:
    page = visit().log_in("alice")
    page.goto(f"/instances/{instance.pk}/load")
    figure = charts_of(page).first
    expect(figure.locator("path.stroke")).to_have_count(1)
    box = figure.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    expect(figure.locator(".top-line")).not_to_have_attribute("data-at", "")
    expect(figure.locator("circle.point")).to_have_attribute("visibility", "visible")
