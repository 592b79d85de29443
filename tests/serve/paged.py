"""Pages of the service in Debian's Chromium, with what they complain about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)


@contextmanager
def launched() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's sandbox needs rights that root in a container does not have.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page, and everything that it complained about or asked for."""

    page: Page
    at: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def clean(self) -> bool:
        assert self.said == []
        assert all(url.startswith((self.at, "blob:")) for url in self.asked), self.asked
        return True

    def go(self, place: str) -> Page:
        self.page.goto(f"{self.at}/#/{place}")
        expect(self.page.locator("h1")).to_be_visible()
        return self.page


@contextmanager
def opened(
    browser: Browser, at: str, key: str, width: int = 1200, **options: Any
) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(15_000)
    if key:
        assert context.request.post(f"{at}/api/v1/session", data={"key": key}).ok
    made = Opened(context.new_page(), at)
    made.page.on("console", lambda message: made.said.append(f"{message.text} {message.location}"))
    made.page.on("pageerror", lambda error: made.said.append(str(error)))
    made.page.on("request", lambda request: made.asked.append(request.url))
    yield made
    context.close()
