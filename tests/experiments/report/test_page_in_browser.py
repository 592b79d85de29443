"""The report in a real browser, Debian's Chromium: no error, no request, all of it by keyboard."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from made_run import judge, made_run
from playwright.sync_api import Browser, Page, expect, sync_playwright

from kaiffin.stories.report import report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's sandbox needs rights that root in a container does not have.
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one run."""
    run = made_run(tmp_path_factory.mktemp("one") / "run")
    judge(run)
    return report([run.path]).path


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two runs and one that was not judged, with long and hostile names."""
    folder = tmp_path_factory.mktemp("many")
    evil = "</script><img src=x onerror=alert(1)>"
    settings = {"two": {"adapter.rank": 4}, "a-rather-long-name-of-a-run-with-no-break": {}}
    runs = [made_run(folder / "one", evil)]
    runs += [made_run(folder / name, evil, **given) for name, given in settings.items()]
    for run in runs[:2]:
        judge(run)
    return report([run.path for run in runs], folder / "report.html").path


@dataclass
class Opened:
    """A page, and everything that it complained about or asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def clean(self) -> bool:
        assert self.said == []
        assert all(url.startswith(("file:", "data:")) for url in self.asked), self.asked
        assert sum(url.startswith("file:") for url in self.asked) == 1
        return True


def open_page(browser: Browser, path: Path, width: int = 1200, **options: object) -> Opened:
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(5000)
    opened = Opened(context.new_page())
    opened.page.on("console", lambda message: opened.said.append(message.text))
    opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.page.on("request", lambda request: opened.asked.append(request.url))
    opened.page.goto(path.as_uri())
    return opened


def test_it_opens_from_disk_and_asks_for_nothing(browser: Browser, one: Path, many: Path) -> None:
    for path in (one, many):
        opened = open_page(browser, path)
        page = opened.page
        page.locator("summary").evaluate_all("all => all.forEach(one => one.click())")
        broken = "all => all.filter(i => !i.complete || !i.naturalWidth || !i.alt).length"
        assert page.locator("main img").evaluate_all(broken) == 0
        # What the page's policy must stop, it stops.
        policy = "fetch('https://example.org/').then(() => 'out', () => 'stopped')"
        assert opened.clean()
        assert page.evaluate(policy) == "stopped"
        assert any("Content Security Policy" in line for line in opened.said)


def test_the_slider_by_keyboard(browser: Browser, one: Path) -> None:
    opened = open_page(browser, one)
    page = opened.page
    said, slider = page.locator(".said"), page.get_by_role("slider", name="Checkpoint")
    picture, note = page.locator(".now img").first, page.locator(".now .note").first
    first = picture.get_attribute("src"), note.inner_text()
    assert said.inner_text().startswith("step 80 (chosen) likeness 0.79")
    assert slider.get_attribute("aria-valuetext") == f"step 80 (chosen): {said.inner_text()[17:]}"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert said.inner_text().startswith("step 120 likeness")
    assert picture.get_attribute("alt") == ("step 120: a photo of kaiffin bird in the snow, seed 1")
    assert picture.get_attribute("src") != first[0]
    assert note.inner_text() != first[1]
    assert set(page.locator(".now-label").all_inner_texts()) == {"step 120"}
    assert page.locator(".chart .here").first.get_attribute("data-step") == "120"
    page.keyboard.press("Home")
    assert said.inner_text().startswith("base as it was")
    base = page.locator(".pair img").first
    assert picture.get_attribute("src") == base.get_attribute("src")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert (picture.get_attribute("src"), note.inner_text()) == first
    # A point of a chart is a way to the same pictures.
    page.locator(".chart [data-step='40'] .dot").first.click()
    assert said.inner_text().startswith("step 40")
    assert opened.clean()


def test_a_picture_large_by_keyboard(browser: Browser, one: Path) -> None:
    opened = open_page(browser, one)
    page = opened.page
    dialog, first = page.get_by_role("dialog"), page.locator(".now .pic").first
    assert not dialog.is_visible()
    first.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    assert dialog.get_by_role("heading").inner_text() == "Step 80, seed 1"
    recipe = dialog.locator("dl").inner_text()
    for part in (
        "a photo of kaiffin bird in the snow", "dpm++2m, 25 steps, guidance 5.0",
        "16 × 16 pixels", f"kaiffin-step-80, weight 1.0, SHA-256 {'ef' * 32}", "ab" * 32,
    ):  # fmt: skip
        assert part in recipe
    large = dialog.locator("img")
    assert large.get_attribute("src") == first.locator("img").get_attribute("src")
    box = large.bounding_box()
    assert box
    assert box["width"] > 400
    page.keyboard.press("ArrowDown")  # another checkpoint, the same prompt and seed
    assert dialog.get_by_role("heading").inner_text() == "Step 120, seed 1"
    assert page.locator(".said").inner_text().startswith("step 120")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")  # the next picture on the page
    assert dialog.get_by_role("heading").inner_text() == "Base, seed 2"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert dialog.get_by_role("heading").inner_text() == "Base, seed 1"
    assert "none: the base as it is" in dialog.locator("dl").inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    focused = "document.activeElement.querySelector('img').alt"
    assert page.evaluate(focused) == "base: a photo of kaiffin bird in the snow, seed 1"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # the focus is on Close
    assert not dialog.is_visible()
    page.locator(".photos .pic").first.click()
    assert "a photo of kaiffin" in dialog.locator("dl").inner_text()
    page.mouse.click(5, 5)  # beside it
    assert not dialog.is_visible()
    assert opened.clean()


def test_tab_reaches_everything(browser: Browser, one: Path) -> None:
    page = open_page(browser, one).page
    wanted = page.evaluate(
        "[...document.querySelectorAll('main a, main button, main input, main summary')]"
        ".filter(one => one.checkVisibility()).map((one, i) => one.dataset.test = String(i))"
    )
    reached = []
    for _ in range(len(wanted) + 20):
        page.keyboard.press("Tab")
        place = page.evaluate(
            "(() => { const at = document.activeElement, css = getComputedStyle(at);"
            " return [at.dataset.test, css.outlineStyle]; })()"
        )
        if place[0] is not None:
            reached.append(place[0])
            assert place[1] != "none"  # one can see where it is
    assert list(dict.fromkeys(reached)) == wanted


def test_dark_and_light(browser: Browser, one: Path) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page = open_page(browser, one, color_scheme=scheme).page
        read = "one => [getComputedStyle(one).backgroundColor, getComputedStyle(one).color]"
        colours[scheme] = page.locator("body").evaluate(read)
        line = page.locator(".chart .line").first
        colours[scheme].append(line.evaluate("one => getComputedStyle(one).stroke"))
    light, dark = colours["light"], colours["dark"]
    assert all(a != b for a, b in zip(light, dark, strict=True))
    assert bright(light[0]) > 200 > 100 > bright(light[1])
    assert bright(dark[0]) < 60 < 180 < bright(dark[1])


def bright(colour: str) -> float:
    """The mean of `rgb(r, g, b)`."""
    return sum(float(part) for part in colour[4:-1].split(",")) / 3


def test_a_phone(browser: Browser, one: Path, many: Path) -> None:
    """360 pixels: nothing is wider, also with everything opened and a picture large."""
    for path in (one, many):
        page = open_page(browser, path, 360, is_mobile=True, has_touch=True).page
        page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.locator(".pic").first.tap()
        dialog = page.get_by_role("dialog")
        assert dialog.is_visible()
        assert dialog.evaluate("one => one.scrollWidth <= one.clientWidth")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.get_by_role("button", name="Close").tap()
        assert not dialog.is_visible()


def test_on_paper(browser: Browser, one: Path, many: Path) -> None:
    """All is open, the chosen checkpoint is shown, on white; afterwards all is as before."""
    page = open_page(browser, one, color_scheme="dark").page
    page.get_by_role("slider", name="Checkpoint").focus()
    page.keyboard.press("End")
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator(".now img").first).to_have_attribute("alt", re.compile("^step 80:"))
    assert not page.locator(".slider").is_visible()
    assert not page.locator("nav").is_visible()
    assert page.get_by_text("adapter:").first.is_visible()
    assert page.get_by_text("It does not know the subject").is_visible()
    assert bright(page.locator("body").evaluate("o => getComputedStyle(o).backgroundColor")) == 255
    page.emulate_media(media="screen")
    expect(page.locator(".now img").first).to_have_attribute("alt", re.compile("^step 120:"))
    assert page.locator("details[open]").count() == 0
    pdf = open_page(browser, many).page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") >= 3


def test_without_javascript(browser: Browser, one: Path) -> None:
    page = open_page(browser, one, java_script_enabled=False).page
    assert page.get_by_text("Without JavaScript only the chosen checkpoint").is_visible()
    assert not page.locator(".slider").is_visible()
    sources = [image.get_attribute("src") for image in page.locator(".pair img").all()]
    assert len(sources) == 20
    assert all(source and source.startswith("data:image/webp") for source in sources)


def test_links_to_closed_runs_open_them(browser: Browser, many: Path) -> None:
    opened = open_page(browser, many)
    page = opened.page
    closed = page.locator("details.whole").nth(1)
    assert not closed.locator(".run").is_visible()
    page.locator(".overview thead a").nth(1).click()
    assert closed.locator(".run").is_visible()
    # Its pictures are those of the grid, which stand in the page once.
    assert closed.locator(".now img").first.evaluate("one => one.naturalWidth") == 16
    slider = closed.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert closed.locator(".said").inner_text().startswith("step 120")
    others = page.locator("details.whole").nth(0).locator(".said").text_content()
    assert others
    assert others.strip().startswith("step 80")
    assert opened.clean()
