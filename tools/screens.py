"""The studio's screens in docs/images, taken from the real page: from photos to pictures.

    python tools/screens.py

It starts a service with a folder of its own, goes the way that docs/studio.md tells, in Debian's
Chromium, and ends the service. It takes some minutes: the miniature learns for a while.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
DESK: ViewportSize = {"width": 1100, "height": 760}
PHONE: ViewportSize = {"width": 390, "height": 760}
PATIENCE = 1_800_000  # ms, for what the machine computes
LITTLE = {"train.steps": "160", "score.candidates": "3", "score.seeds": "2"}
PROMPT = "a photo of kaiffin penguin in the snow\na photo of kaiffin penguin in space"


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a service, with the token that opens it once."""
    command = [sys.executable, "-m", "kaiffin", "serve", "--data", str(folder), "--port", "0"]
    lively = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=lively)
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        yield next(found[0] for line in lines if (found := re.search(r"http://\S+token=\S+", line)))
    finally:
        process.terminate()
        process.wait()


def keep(page: Page, name: str, top: str) -> None:
    """What is seen, from `top` on, below the head."""
    page.locator(top).first.evaluate(
        "one => scrollTo(0, one.getBoundingClientRect().top + scrollY"
        " - document.getElementById('head').offsetHeight - 24)"
    )
    page.wait_for_timeout(1500)  # thumbnails come as they are seen
    seen = Image.open(io.BytesIO(page.screenshot()))
    path = IMAGES / f"studio-{name}.webp"
    seen.convert("RGB").save(path, quality=86, method=6)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


def photos(page: Page) -> None:
    page.get_by_role("button", name="Try it with Kaiffin").click()
    page.get_by_role("button", name="Check photos").click()
    expect(page.get_by_text("Nothing to mend.")).to_be_visible()
    keep(page, "dataset", ".told")


def training(page: Page) -> None:
    page.get_by_role("link", name="Next: Fine-tune").click()
    expect(page.get_by_role("heading", name="What it will take")).to_be_visible()
    keep(page, "plan", "main")
    page.get_by_text("All settings").click()
    for name, value in LITTLE.items():
        page.get_by_placeholder("Search settings").fill(name.replace(".", " "))
        box = page.locator(f'.setting[data-name="{name}"] input')
        box.fill(value)
        box.press("Tab")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_text("It has learnt, in")).to_be_visible()
    page.get_by_role("button", name="Choose for me").click()
    expect(page.get_by_text("is chosen.")).to_be_visible()
    keep(page, "run", ".choice")


def pictures(page: Page) -> None:
    page.get_by_role("link", name="Make pictures", exact=True).click()
    page.get_by_label("What to draw").fill(PROMPT)
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator(".results .pic")).to_have_count(8)
    expect(page.locator(".gallery .pic")).to_have_count(8)
    keep(page, "generate", "main")


def opened(browser: Browser, viewport: ViewportSize, **options: Any) -> BrowserContext:
    made = browser.new_context(viewport=viewport, reduced_motion="reduce", **options)
    made.set_default_timeout(PATIENCE)
    return made


def main() -> None:
    expect.set_options(timeout=PATIENCE)
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder)) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        desk = opened(browser, DESK)
        page = desk.new_page()
        page.goto(address)
        photos(page)
        training(page)
        pictures(page)
        phone = opened(browser, PHONE, color_scheme="dark", storage_state=desk.storage_state())
        small = phone.new_page()
        small.goto(page.url)
        expect(small.locator(".results .pic")).to_have_count(8)
        keep(small, "phone", ".result")


if __name__ == "__main__":
    main()
