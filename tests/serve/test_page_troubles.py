"""The page when something is wrong: what was typed is kept, and it says what to do."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paged import Mine, dropped, needs_chromium, opened
from PIL import Image
from playwright.sync_api import Page, expect
from served import World, jpeg

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def mine(world: World, at: str) -> Mine:
    """Somebody who has photos, and a training that is over."""
    made = Mine(world, at, "tove")
    dataset = made.dataset(jpeg(), jpeg((9, 9, 9)))
    made.client.patch(f"/datasets/{dataset}", json={"subject": "zubrik", "noun": "bear"})
    made.trained(dataset)
    return made


@pytest.mark.slow  # each place, twice
def test_back_and_forward_find_everything_as_it_was(browser: Any, at: str, mine: Mine) -> None:
    """Through all parts, back and forth by the browser's own buttons, and a reload of each."""
    with opened(browser, at, mine.key) as one:
        page = one.go("dataset")
        page.get_by_role("link", name="zubrik bear").first.click()
        expect(page.get_by_label("what 0.jpg shows")).to_be_visible()
        page.get_by_label("what 0.jpg shows").press_sequentially("in the snow")

        page.get_by_role("link", name="Next: Fine-tune").click()
        page.get_by_text("All settings").click()
        page.get_by_label("Name", exact=True).fill("the long one")
        page.get_by_placeholder("Search settings").fill("train steps")
        page.locator('.setting[data-name="train.steps"] input').fill("77")
        page.locator('.setting[data-name="train.steps"] input').press("Tab")
        expect(page.get_by_text("1 setting changed")).to_be_visible()

        page.get_by_role("link", name="Generate", exact=True).click()
        page.get_by_label("What to draw").fill(" a dog \n\n")
        page.get_by_text("More settings").click()
        page.get_by_label("Not in it").fill("rain")
        page.get_by_label("How many").fill("2")
        page.get_by_label("Steps", exact=True).fill("7")
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.locator(".results .pic")).to_have_count(2)
        page.get_by_label("What to draw").fill("not sent yet")

        page.get_by_role("link", name="Compare", exact=True).click()
        page.get_by_role("button", name="Add another").click()
        page.get_by_label("model").last.select_option("base:miniature-xl")
        page.get_by_label("Prompts").fill("my own prompt")
        page.get_by_label("Blind:").check()
        page.get_by_role("button", name="Make the pictures").click()
        expect(page.get_by_text("Names are hidden until every row has a vote.")).to_be_visible()

        steps = [compare_form, generated, generate_form, tune_form, dataset_page]
        for seen in steps:
            page.go_back()
            seen(page)
        page.go_back()
        expect(page.get_by_role("heading", name="Your photos")).to_be_visible()
        for seen in reversed(steps):
            page.go_forward()
            seen(page)
            page.reload()
            seen(page)
        assert one.clean()


def dataset_page(page: Page) -> None:
    expect(page.get_by_label("what 0.jpg shows")).to_have_value("in the snow")
    expect(page.get_by_label("A word for it")).to_have_value("zubrik")


def tune_form(page: Page) -> None:
    expect(page.get_by_text("1 setting changed")).to_be_attached()
    expect(page.locator('.setting[data-name="train.steps"] input')).to_have_value("77")
    expect(page.get_by_label("Name", exact=True)).to_have_value("the long one")


def generate_form(page: Page) -> None:
    expect(page.get_by_label("What to draw")).to_have_value(" a dog \n\n")
    expect(page.get_by_label("Not in it")).to_have_value("rain")
    expect(page.get_by_label("How many")).to_have_value("2")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("7")


def generated(page: Page) -> None:
    expect(page.locator(".results .pic")).to_have_count(2)
    expect(page.get_by_label("What to draw")).to_have_value("not sent yet")
    expect(page.get_by_label("Not in it")).to_have_value("rain")


def compare_form(page: Page) -> None:
    expect(page.get_by_label("Prompts")).to_have_value("my own prompt")
    expect(page.get_by_label("model")).to_have_count(3)
    expect(page.get_by_label("model").last).to_have_value("base:miniature-xl")
    expect(page.get_by_label("Blind:")).to_be_checked()


def test_back_closes_what_is_open(browser: Any, at: str, mine: Mine) -> None:
    with opened(browser, at, mine.key) as one:
        page = one.go("dataset")
        page.get_by_role("link", name="zubrik bear").first.click()
        page.get_by_role("button", name="Crop 0.jpg").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        page.go_back()
        expect(page.get_by_role("heading", name="Your photos")).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_is_pasted(browser: Any, at: str, mine: Mine) -> None:
    """A prompt of 10,000 characters: said, and kept for whoever typed it."""
    long = "word " * 2000
    with opened(browser, at, mine.key) as one:
        page = one.go("generate")
        box = page.get_by_label("What to draw")
        box.fill(long)
        expect(page.get_by_text("9,999 characters in one line, 2,000 at most")).to_be_visible()
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("Change it, and try again.")
        expect(box).to_have_value(long)
        page.reload()
        expect(page.get_by_label("What to draw")).to_have_value(long)
        one.go("settings").get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Key", exact=True)).to_be_visible()
        assert page.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]


def test_a_base_that_is_gone(browser: Any, world: World, at: str, mine: Mine) -> None:
    """Of a training: said where it is picked, where pictures are asked, where it is looked at; the
    form is as it was, and goes through once the base is back."""
    (run,) = mine.client.get("/runs").json()["items"]
    gone = "which this training was made with, is not served here any more. Ask whoever runs"
    with opened(browser, at, mine.key) as one:
        page = one.go("generate")
        page.get_by_label("With").select_option(f"run:{run['id']}")
        before, world.service.bases = world.service.bases, ("miniature-xl",)
        try:
            page.get_by_label("What to draw").fill("a zubrik bear")
            expect(page.get_by_role("alert")).to_contain_text("is not served here")
            page.get_by_role("button", name="Generate", exact=True).click()
            expect(page.get_by_role("alert").filter(has_text=gone)).to_be_visible()
            expect(page.get_by_label("What to draw")).to_have_value("a zubrik bear")
            one.go(f"tune/{run['id']}").get_by_role("button", name="Choose for me").click()
            expect(page.get_by_role("alert")).to_contain_text(gone)
        finally:
            world.service.bases = before
        page.go_back()
        expect(page.get_by_label("What to draw")).to_have_value("a zubrik bear")
        expect(page.get_by_label("With")).to_have_value(f"run:{run['id']}")
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.locator(".results .pic")).to_have_count(4)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file that this process writes grows beyond a page."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full(
    browser: Any, world: World, at: str, mine: Mine, tmp_path: Path
) -> None:
    """Each says so in its place, keeps what was typed, and works once there is room."""
    dataset = mine.dataset(jpeg((5, 5, 5)))
    photo = tmp_path / "more.bmp"
    Image.new("RGB", (64, 64), "red").save(photo)
    with opened(browser, at, mine.key) as one:
        page = one.go(f"dataset/{dataset}")
        caption = page.get_by_label("what 0.jpg shows")
        with full_disk():
            dropped(page, [photo])
            expect(page.locator(".uploads").get_by_role("alert")).to_contain_text("cannot be writ")
            caption.fill("a photo of zubrik bear")
            caption.press("Tab")
            expect(page.locator(".shot").get_by_role("alert")).to_contain_text("disk")
            expect(caption).to_have_value("a photo of zubrik bear")
        assert mine.photos(dataset)[0]["caption"] == ""
        assert mine.on_the_disk(dataset) == [mine.photos(dataset)[0]["id"]]
        caption.focus()
        caption.press("Tab")
        expect(page.get_by_text("Saved.")).to_be_visible()
        dropped(page, [photo])
        expect(page.get_by_text("2 photos to learn from")).to_be_visible()

        page = one.go("generate")
        page.get_by_label("What to draw").fill("a bear in the snow")
        with full_disk():
            page.get_by_role("button", name="Generate", exact=True).click()
            expect(page.get_by_role("alert")).to_contain_text("its disk is full")
        expect(page.get_by_label("What to draw")).to_have_value("a bear in the snow")
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.locator(".results .pic")).to_have_count(4)
    assert world.studio.db.rows("PRAGMA integrity_check")[0][0] == "ok"
