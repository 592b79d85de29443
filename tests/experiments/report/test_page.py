"""The page: one file, no network, everything escaped, under its size."""

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from made_run import PROMPTS, judge, made_run
from PIL import Image

from kaiffin.experiments.report.page import LIMIT, sentence
from kaiffin.foundation.errors import RunError
from kaiffin.stories.report import report

EVIL = '</script><img src=x onerror="alert(1)"> `<b>x</b>`'


def test_the_page_forbids_itself_the_network(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    judge(run)
    page = Page(report([run.path]).path)
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", 'script type="module"'):
        text = re.findall(rf"<{tag}>(.*?)</{tag.split()[0]}>", page.html, re.DOTALL)[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "http" not in page.html.replace("http-equiv", "")
    for _, attributes in page.tags:
        assert "style" not in attributes  # the policy would drop it
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            link = attributes.get(name)
            assert link is None or link.startswith(("data:", "#"))


def test_what_strangers_wrote_is_harmless(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", EVIL)
    prompts = {"scenes": [EVIL, "a {s}"], EVIL: [f"{EVIL} {{s}}"]}
    choice = judge(run, prompts=prompts)
    choice["verdict"] = choice["findings"][0] = choice["judge"] = EVIL
    choice["references"]["words"] = EVIL
    run.write_json("choice.json", choice)
    facts = run.read_json("manifest.json")
    run.write_json("manifest.json", facts | {"derived": [EVIL], "versions": {EVIL: EVIL}})
    other = made_run(tmp_path / "other" / EVIL.replace("/", "_"), EVIL)
    judge(other, prompts=prompts)
    for page in (
        Page(report([run.path]).path),
        Page(report([run.path, other.path], tmp_path / "a").path),
    ):
        assert EVIL not in page.html
        assert len(page.all("script")) == 2
        assert page.html.count("</script") == 2
        assert not page.all("b") or all(not attributes for attributes in page.all("b"))
        assert not any("onerror" in attributes for _, attributes in page.tags)
        assert not any(attributes.get("src") == "x" for attributes in page.all("img"))
        # It is all there, as text.
        assert any(EVIL in str(p["own"]) for p in page.data["pictures"].values())
        assert "&lt;/script&gt;&lt;img" in page.html


def test_only_a_report_is_overwritten(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    first = report([run.path]).path.read_bytes()
    assert report([run.path]).path.read_bytes() == first
    own = tmp_path / "own.html"
    own.write_text("<h1>my page</h1>")
    with pytest.raises(RunError, match="is no report of Kaiffin's"):
        report([run.path], own)
    assert own.read_text() == "<h1>my page</h1>"
    with pytest.raises(RunError, match="cannot be written"):
        report([run.path], own / "report.html")  # below a file
    assert not list(tmp_path.rglob("*.part"))


def test_sentences_have_a_capital_a_stop_and_code() -> None:
    assert sentence("take `<b>` & go") == "Take <code>&lt;b&gt;</code> &amp; go."
    assert sentence("is it so?") == "Is it so?"
    assert sentence("") == ""


# --- size ---------------------------------------------------------------------------------------


def photo_like() -> np.ndarray:
    """512 px with shapes and grain, which costs about as many bytes as a photo does."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((512, 512), Image.Resampling.BICUBIC))
    return (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.slow  # a report of many pictures
def test_a_normal_run_is_under_five_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight checkpoints and the base, forty pictures each at 512 px."""
    photo = photo_like()

    def paint(step: int, prompt: int, seed: int) -> Image.Image:
        return Image.fromarray(np.roll(photo, (step + 21 * prompt, 101 * seed), (0, 1)))

    monkeypatch.setattr("made_run.save_png", lambda image, path, _: image.save(path, "BMP"))
    run = made_run(tmp_path / "run")
    prompts = {name: [f"{text} {i}" for i in range(4)] for name, (text, *_) in PROMPTS.items()}
    steps = range(15, 121, 15)
    judge(run, paint=paint, prompts=prompts | {"actions": ["{s}"] * 4}, steps=steps, chosen=60)
    path = report([run.path]).path
    page = Page(path)
    assert len(page.data["pictures"]) == 9 * 40 + 2
    assert path.stat().st_size < LIMIT
    shown = [image for image in page.all("img") if str(image["alt"]).startswith(("base", "step"))]
    assert len(shown) == 2 * 40
    assert {image["width"] for image in shown} == {"256"}


def test_what_has_no_room_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(tmp_path / "run")

    def noise(step: int, prompt: int, seed: int) -> Image.Image:
        rng = np.random.default_rng((step, prompt, seed))
        return Image.fromarray(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8))

    judge(run, paint=noise)
    monkeypatch.setattr("kaiffin.experiments.report.page.LIMIT", 400_000)
    page = Page(report([run.path]).path)
    assert "had no room in this page" in page.html
    assert [stop["label"] for stop in page.data["runs"]["run1"]] == ["base", "step 80"]
    assert len([i for i in page.all("img") if i.get("src")]) == 2 + 20
