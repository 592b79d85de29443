"""Photos on the page, as people bring them: large, many, twice, no photos, while they type."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paged import Mine, dropped, needs_chromium, opened
from PIL import Image
from pillow_heif import from_pillow
from playwright.sync_api import Dialog, Page, expect
from served import World, jpeg

pytestmark = needs_chromium


def heic(width: int, height: int) -> bytes:
    """A smooth picture as an iPhone writes it."""
    row = np.linspace(0, 255, width, dtype=np.uint8)
    down = np.linspace(0, 255, height, dtype=np.uint8)
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = row, down[:, None], 90
    out = io.BytesIO()
    from_pillow(Image.fromarray(pixels)).save(out, quality=40)
    return out.getvalue()


def numbered(data: bytes, number: int) -> bytes:
    """The same picture in a file of its own: a box at its end that readers skip."""
    return data + (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")


@pytest.mark.parametrize(
    ("count", "size"), [(3, (160, 96)), pytest.param(20, (8064, 6048), marks=pytest.mark.slow)]
)
def test_all_that_a_phone_holds_is_dropped(
    browser: Any, world: World, at: str, tmp_path: Path, count: int, size: tuple[int, int]
) -> None:
    """HEIC photos, a video and a letter among them, the same photo ten times."""
    mine, picture = Mine(world, at, f"mia{count}"), heic(*size)
    files = [(f"IMG_{n}.HEIC", numbered(picture, n)) for n in range(count)]
    files[1:1] = [("clip.mp4", b"\0\0\0\x18ftypmp42" + bytes(64)), ("letter.pdf", b"%PDF-1.4")]
    files += [(f"copy-{n}.jpg", jpeg()) for n in range(10)]
    for name, data in files:
        (tmp_path / name).write_bytes(data)
    expect.set_options(timeout=600_000 if count > 3 else 15_000)
    with opened(browser, at, mine.key) as one:
        page = one.go("dataset")
        dropped(page, [tmp_path / name for name, _ in files])
        expect(page.get_by_text(f"{count + 1} photos to learn from")).to_be_visible()
        told = page.locator(".uploads")
        expect(told.get_by_text("is here already: it is kept once")).to_have_count(9)
        expect(told.get_by_role("progressbar")).to_have_count(0)
        for name in ("clip.mp4", "letter.pdf"):
            expect(told).to_contain_text(
                f"No photo: {name}. Photos are files such as JPEG, PNG, WebP and HEIC."
            )
        while told.get_by_role("button", name="OK").count():
            told.get_by_role("button", name="OK").first.click()
        expect(told).to_be_empty()
        dataset = page.url.rpartition("/")[2]
        seen = {photo["name"]: (photo["width"], photo["height"]) for photo in mine.photos(dataset)}
        assert [seen[f"IMG_{n}.HEIC"] for n in range(count)] == [size] * count
        assert mine.on_the_disk(dataset) == sorted(one["id"] for one in mine.photos(dataset))
        assert one.clean()
    expect.set_options(timeout=15_000)


def test_a_common_word_is_said_at_once(browser: Any, world: World, at: str) -> None:
    mine = Mine(world, at, "cora")
    with opened(browser, at, mine.key) as one:
        page = one.go(f"dataset/{mine.dataset(jpeg())}")
        word = page.get_by_label("A word for it")
        word.fill("penguin")
        word.press("Tab")
        said = page.get_by_text("penguin means something already.")
        expect(said).to_be_visible()
        expect(page.locator(".words .finding")).to_contain_text("Choose a rarer one.")
        word.fill("zubrik")
        word.press("Tab")
        expect(said).to_be_hidden()


def large(folder: Path, *names: str, side: int) -> list[Path]:
    """Photos that take their time: three bytes a pixel."""
    for number, name in enumerate(names):
        Image.new("RGB", (side, side), (number, 90, 9)).save(folder / name)
    return [folder / name for name in names]


def slow_line(page: Page, kilobytes: int) -> Any:
    """What is sent goes so fast a second; the session that can say otherwise."""
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    hurry(line, kilobytes * 1000)
    return line


def hurry(line: Any, rate: int = -1) -> None:
    speeds = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": rate}
    line.send("Network.emulateNetworkConditions", {"offline": False, **speeds})


def test_a_tab_that_is_closed_in_an_upload(
    browser: Any, world: World, at: str, tmp_path: Path
) -> None:
    """It asks before; then what has arrived is there, nothing is there in part, and the rest can
    be dropped again."""
    mine, asked = Mine(world, at, "toni"), list[str]()
    files = large(tmp_path, "first.png", "last.png", side=64)
    with (tmp_path / "endless.bmp").open("wb") as endless:
        endless.truncate(95_000_000)

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    with opened(browser, at, mine.key) as one:
        page = one.go("dataset")
        slow_line(page, 100)
        dropped(page, [files[0], tmp_path / "endless.bmp"])
        expect(page.get_by_text("1 photo to learn from")).to_be_visible()
        expect(page.get_by_role("progressbar", name="endless.bmp")).to_be_visible()
        place = page.url.partition("#/")[2]
        page.once("dialog", leave)
        with page.expect_event("close"):
            page.close(run_before_unload=True)
        assert asked == ["beforeunload"]

        one.page = page = page.context.new_page()
        one.go(place)
        expect(page.get_by_text("1 photo to learn from")).to_be_visible()
        dataset = place.partition("/")[2]
        assert mine.on_the_disk(dataset) == [photo["id"] for photo in mine.photos(dataset)]
        assert list((world.studio.path / "incoming").iterdir()) == []
        dropped(page, files)
        expect(page.get_by_text("2 photos to learn from")).to_be_visible()
        expect(page.locator(".uploads")).to_contain_text("is here already")


def test_what_is_typed_outlives_uploads_and_a_check(
    browser: Any, world: World, at: str, tmp_path: Path
) -> None:
    """Photos come, findings come and put another photo first: the hand goes on typing."""
    mine = Mine(world, at, "tess")
    dataset = mine.dataset(jpeg(), jpeg((9, 9, 9)))
    first, last = mine.photos(dataset)
    with opened(browser, at, mine.key) as one:
        page = one.go(f"dataset/{dataset}")
        page.get_by_role("button", name="Check photos").click()
        expect(page.get_by_text("Looking at every photo")).to_be_visible()
        caption = page.get_by_label("what 1.jpg shows")
        line = slow_line(page, 50)
        dropped(page, large(tmp_path, "a.bmp", "b.bmp", side=400))
        caption.press_sequentially("a photo of ")
        hurry(line)
        expect(page.get_by_text("4 photos to learn from")).to_be_visible()
        expect(caption).to_be_focused()
        page.keyboard.type("zubrik ")  # and not `fill`, which would give the focus back
        (scan,) = mine.client.get("/jobs?kind=scan").json()["items"]
        found = [("error", first, "is dark"), ("warning", last, "is small")]
        findings = [
            {"level": level, "photo": f"{photo['id']}.jpg", "what": what, "fix": "Take another."}
            for level, photo, what in found
        ]
        world.finish(scan["id"], photos=2, findings=findings, refused=[], problems=[])
        expect(page.get_by_text("Is small. Take another.")).to_be_visible()
        expect(page.locator(".shot").nth(1).locator(".name")).to_contain_text("1.jpg")
        expect(caption).to_be_focused()
        page.keyboard.type("bear")
        expect(caption).to_have_value("a photo of zubrik bear")
        page.evaluate("location.hash = '#/settings'")  # as the back button does: nothing is blurred
        expect(page.get_by_text("Saved.")).to_be_visible()
        assert mine.photos(dataset)[1]["caption"] == "a photo of zubrik bear"

        one.go(f"dataset/{dataset}")
        page.get_by_label("what 0.jpg shows").press_sequentially("in the snow")
        with page.expect_request(re.compile("/photos/"), timeout=15_000):
            page.reload()
        expect(page.get_by_label("what 0.jpg shows")).to_have_value("in the snow")
        assert one.clean()


def test_a_caption_and_then_out(browser: Any, world: World, at: str) -> None:
    """Two words to the service at once: both hold."""
    mine = Mine(world, at, "otto")
    dataset = mine.dataset(jpeg())
    with opened(browser, at, mine.key) as one:
        page = one.go(f"dataset/{dataset}")
        page.get_by_label("what 0.jpg shows").fill("a photo of zubrik bear")
        page.get_by_role("button", name="Leave out 0.jpg").click()
        expect(page.get_by_text("1 left out")).to_be_visible()
        expect(page.get_by_label("what 0.jpg shows")).to_have_value("a photo of zubrik bear")
        expect(page.get_by_text("Saved.")).to_be_visible()
        (photo,) = mine.photos(dataset)
        assert (photo["caption"], photo["left_out"]) == ("a photo of zubrik bear", True)
        assert mine.on_the_disk(dataset) == []
        page.get_by_role("button", name="Put back 0.jpg").click()
        expect(page.get_by_text("1 photo to learn from")).to_be_visible()
        assert one.clean()
