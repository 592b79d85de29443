"""Pages of the service in Debian's Chromium, with what they complain about."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from made_run import made_run
from playwright.sync_api import Browser, Page, expect, sync_playwright
from served import World, jpeg

from kaiffin.miniature.world.vocabulary import SIDE

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
        expect.set_options(timeout=15_000)
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
        assert self.said == [], self.said
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


def dropped(page: Page, files: Sequence[Path]) -> None:
    """As a hand drops them onto the page."""
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('input'),"
        " { type: 'file', multiple: true, id: 'held', hidden: true }))"
    )
    page.locator("#held").set_input_files(files)
    page.evaluate(
        "const held = document.getElementById('held'), transfer = new DataTransfer();"
        "for (const one of held.files) transfer.items.add(one);"
        "held.remove();"
        "document.querySelector('.drop').dispatchEvent("
        " new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));"
    )


class Mine:
    """Somebody's service without a browser: what arrived."""

    def __init__(self, world: World, at: str, user: str) -> None:
        self.world, self.key = world, world.key(user)
        client = httpx.Client(base_url=f"{at}/api/v1", timeout=60)
        client.headers["authorization"] = f"Bearer {self.key}"
        self.client = client

    def dataset(self, *photos: bytes) -> str:
        id = self.client.post("/datasets", json={}).json()["id"]
        for number, data in enumerate(photos):
            sent = {"file": (f"{number}.jpg", data)}
            assert self.client.post(f"/datasets/{id}/photos", files=sent).status_code == 201
        return id

    def photos(self, dataset: str) -> list[dict[str, Any]]:
        return self.client.get(f"/datasets/{dataset}/photos?limit=200").json()["items"]

    def on_the_disk(self, dataset: str) -> list[str]:
        return sorted(path.stem for path in self.world.studio.dataset(dataset).iterdir())

    def done(self, kind: str, asked: dict[str, Any]) -> str:
        """The id of a job that workers have done."""
        job = self.client.post(f"/{kind}?wait=300", json=asked, timeout=320).json()
        assert job["state"] == "done", job
        return job["id"]

    def queued(self, kind: str) -> list[dict[str, Any]]:
        """The jobs of a kind that wait, once there is one."""
        while True:
            found = self.client.get(f"/jobs?kind={kind}&state=queued").json()["items"]
            if found:
                return found
            time.sleep(0.05)

    def trained(self, dataset: str, name: str = "") -> str:
        """A training that is over, with what a page asks for, and without weights."""
        asked = {"dataset": dataset, "name": name}
        id = self.client.post("/train", json=asked).json()["id"]
        run = made_run(self.world.studio.run(id))
        (run.folder("candidates") / "kaiffin-step-00000040.safetensors").touch()
        self.world.finish(id, proofs={})
        return id


PAGES = ("dataset", "tune", "generate", "compare", "settings")


def furnish(world: World, at: str, user: str) -> str:
    """The key of somebody who has photos, a training, pictures and a failed job."""
    client = httpx.Client(base_url=at, headers={"authorization": f"Bearer {world.key(user)}"})
    dataset = client.post(
        "/api/v1/datasets",
        json={"name": "A very-long-name-without-any-break-in-it", "subject": "zubrik"},
    ).json()["id"]
    file = {"file": ("a-name-as-cameras-give-them-IMG_20260101_000000.jpg", jpeg(side=SIDE))}
    assert client.post(f"/api/v1/datasets/{dataset}/photos", files=file).status_code == 201
    client.post("/api/v1/train", json={"dataset": dataset}).raise_for_status()
    failed = client.post("/api/v1/scan", json={"dataset": dataset}).json()["id"]
    world.studio.jobs.begin([failed], "test")
    world.studio.jobs.fail(
        failed, "photo.jpg: 64x64 is too small for 512 px.", "Use a larger photo."
    )
    pictures = {"base": "miniature", "prompts": ["a dog"], "count": 2}
    client.post("/api/v1/generate?wait=20", json=pictures).raise_for_status()
    return client.headers["authorization"].partition(" ")[2]


def places(one: Opened) -> list[str]:
    """Every page that somebody who is furnished can open."""
    found = one.page.evaluate(
        "Promise.all(['datasets', 'runs', 'jobs?kind=generate'].map(async (name) =>"
        " (await (await fetch(`api/v1/${name}`)).json()).items[0].id))"
    )
    return [
        *PAGES,
        f"dataset/{found[0]}",
        f"tune/{found[1]}",
        f"generate/{found[2]}",
        f"compare/{found[2]}?blind=1",
    ]
