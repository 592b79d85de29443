"""The page measured: its first paint."""

import re

import pytest
from paged import furnish, needs_chromium, opened
from playwright.sync_api import Browser
from served import World

pytestmark = needs_chromium


@pytest.mark.slow  # it says seconds, and asserts none
def test_first_paint(browser: Browser, world: World, at: str) -> None:
    furnished, found = furnish(world, at, "rut"), {}
    for place in ("dataset", "generate"):
        with opened(browser, at, furnished) as one:  # a new context has a cold cache
            one.go(place)
            paint = "performance.getEntriesByType('paint').map(one => [one.name, one.startTime])"
            found[place] = dict(one.page.evaluate(paint))
            asked = [url for url in one.asked if re.search(r"\.(js|css)$", url)]
    print({place: {name: round(ms) for name, ms in one.items()} for place, one in found.items()})
    print(f"{len(asked)} modules and style sheets")
    assert all("first-contentful-paint" in one for one in found.values())
