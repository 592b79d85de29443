"""The whole journey on a service that is really there, and is killed in between."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paged import launched, needs_chromium, opened
from playwright.sync_api import Browser, Page, expect
from test_server import Served

SECRET = "k" * 64

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


def test_from_photos_to_a_picture_in_five_clicks(browser: Browser, tmp_path: Path) -> None:
    served = Served(tmp_path / "studio", key=SECRET)
    found = re.search(r"http://[^\s?]+", served.until("Kaiffin serves"))
    assert found
    address = found[0].rstrip("/")
    clicks = 0

    def click(page: Page, name: str, role: Any = "button") -> None:
        nonlocal clicks
        page.get_by_role(role, name=name, exact=True).click()
        clicks += 1

    try:
        with opened(browser, address, SECRET) as one:
            page = one.page
            page.set_default_timeout(120_000)
            expect.set_options(timeout=300_000)
            page.goto(f"{address}/")
            click(page, "Try it with Kaiffin")
            click(page, "Next: Fine-tune", "link")
            expect(page.get_by_role("heading", name="What it will take")).to_be_visible()
            ask_for_little(page)
            click(page, "Start training")
            expect(page.get_by_text(re.compile(r"[5-9] of 40|[1-3]\d of 40"))).to_be_visible()
            page.get_by_role("button", name=re.compile("^Pause")).click()
            expect(page.get_by_text("Paused. Nothing is lost.")).to_be_visible()
            page.reload()
            page.get_by_role("button", name=re.compile("^Go on")).click()
            expect(page.get_by_text("Learning", exact=True)).to_be_visible()
            os.kill(served.process.pid, signal.SIGKILL)
            served.process.wait()
            expect(page.get_by_text("The service does not answer.")).to_be_visible()
            served = Served(tmp_path / "studio", key=SECRET, port=int(address.rpartition(":")[2]))
            served.until("Kaiffin serves")
            expect(page.get_by_text("It has learnt, in")).to_be_visible()
            choose(page, tmp_path)
            click(page, "Make pictures", "link")
            expect(page.get_by_label("What to draw")).to_have_value(re.compile("kaiffin penguin"))
            click(page, "Generate")
            expect(page.locator(".results .pic")).to_have_count(4)
            assert clicks == 5
            best_and_base(page)
    finally:
        served.process.kill()
        served.process.wait()


def loads_in_diffusers(path: Path, name: Path) -> None:
    from diffusers import StableDiffusionPipeline

    from kaiffin.miniature import WEIGHTS

    shutil.copyfile(path, name)
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS, safety_checker=None)
    pipeline.load_lora_weights(name)
    assert pipeline.get_active_adapters()


def ask_for_little(page: Page) -> None:
    """Fewer steps and pictures: for a test, not for the journey."""
    page.get_by_text("All settings").click()
    for name, value in (
        ("train.steps", "40"),
        ("score.candidates", "2"),
        ("score.seeds", "1"),
    ):
        page.get_by_placeholder("Search settings").fill(name.replace(".", " "))
        box = page.locator(f'.setting[data-name="{name}"] input')
        box.fill(value)
        box.press("Tab")
    expect(page.get_by_text("3 settings changed")).to_be_visible()


def choose(page: Page, folder: Path) -> None:
    page.get_by_role("button", name="Choose for me").click()
    expect(page.get_by_text(re.compile(r"Step \d+ is chosen\."))).to_be_visible()
    expect(page.locator(".plots svg")).not_to_have_count(0)
    slider = page.get_by_role("slider", name="Checkpoint")
    slider.press("Home")
    expect(page.locator(".said")).to_contain_text("base")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the chosen adapter").click()
    loads_in_diffusers(Path(download.value.path()), folder / "a.safetensors")


def best_and_base(page: Page) -> None:
    page.get_by_label("Keep the best").fill("1")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.get_by_text("kept ·")).to_have_count(1)
    page.locator(".results .pic").first.click()
    page.get_by_role("button", name="Compare with the base").click()
    expect(page.get_by_text("The base as it was, same seed")).to_be_visible()
