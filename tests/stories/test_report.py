"""The report: one file, no network, everything escaped, under its size, sensible when empty."""

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import numpy as np
import pytest
from made_run import PROMPTS, STEPS, judge, made_run
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.experiments.report import album as albums
from kaiffin.experiments.report import page as reports
from kaiffin.experiments.report.page import sentence
from kaiffin.experiments.report.sections import duration
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.run import Run
from kaiffin.stories.report import report

EVIL = '</script><img src=x onerror="alert(1)"> `<b>x</b>`'


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text of its data block."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.tags[-1][0] if self.tags else "", []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self) -> dict:
        block = next(t for t in self.texts["script"] if t.startswith("{"))
        return json.loads(block)


def test_a_full_page(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    judge(run)
    path = report([run.path])
    page = Page(path)
    assert path == run.report_path
    for said in (
        "kaiffin bird", "Step 80 of 120.", "No difference between steps 80 and 120",
        "Overfitting begins near step 120: copying rises, the prompt falls.", "best.safetensors",
        "kept to judge by", "Over the training", "What is traded for what", "ab" * 32,
        hashlib.sha256(b"best").hexdigest(), "1,234,567", "attaches all 115 layers",
        "adapter.rank = 16", "torch 2.13.0", "compared with 1 photo that was not trained on",
        "training 1 min 0 s", "40 pictures made and judged in 1 min 1 s", "real photos 0.800",
    ):  # fmt: skip
        assert said in page.html, said
    stops = page.data["runs"]["run1"]
    assert [stop["label"] for stop in stops] == ["base", "step 40", "step 80", "step 120"]
    assert [stop["chosen"] for stop in stops] == [False, False, True, False]
    for stop in stops:
        for key, notes in stop["cells"].values():
            assert page.data["pictures"][key]["alt"].startswith(stop["label"])
            is_of_subject = "kaiffin" in page.data["pictures"][key]["alt"] and stop["step"]
            assert any(note.startswith("prompt") for note in notes) == bool(is_of_subject)


def test_a_picture_shows_its_recipe(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    judge(run)
    data = Page(report([run.path])).data
    one = next(p for p in data["pictures"].values() if p["title"] == "Step 80, seed 2")
    facts = dict([*one["own"], *data["shared"][one["shared"]]])
    assert facts["prompt"] == "a photo of kaiffin bird in the snow"
    assert facts["seed"] == "2"
    assert facts["sampler"] == "dpm++2m, 25 steps, guidance 5.0"
    assert facts["size"] == "16 × 16 pixels"
    assert facts["adapter"] == f"kaiffin-step-80, weight 1.0, SHA-256 {'ef' * 32}"
    assert facts["base"] == f"miniature, revision {'ab' * 32}"
    assert "likeness 0.8" in facts["scores"]
    assert facts["nearest photo"] == "one.png"
    assert (run.path / one["link"]).is_file()


def test_every_picture_is_in_the_page_once(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    choice = judge(run)
    page = Page(report([run.path]))
    pictures = len(choice["base"]["pictures"]) * (len(STEPS) + 1)
    urls = re.findall(r"data:image/webp;base64,[\w+/=]+", page.html)
    assert len(urls) == len(set(urls)) == pictures + 2  # and two photos
    assert len(page.data["pictures"]) == pictures + 2
    # Without the script the base and the chosen checkpoint are there.
    shown = [image for image in page.all("img") if image.get("src")]
    assert len(shown) == 2 + 2 * len(choice["base"]["pictures"])
    assert all(image["alt"] for image in shown)
    # The same picture under two names is one.
    for name in choice["candidates"][0]["pictures"]:
        (run.path / name).write_bytes((run.path / choice["base"]["pictures"][0]).read_bytes())
    again = Page(report([run.path])).html
    assert again.count("data:image/webp") == pictures + 2 - len(choice["base"]["pictures"])


def test_the_page_forbids_itself_the_network(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    judge(run)
    page = Page(report([run.path]))
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page.html, re.DOTALL)[0]
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
    for page in (Page(report([run.path])), Page(report([run.path, other.path], tmp_path / "a"))):
        assert EVIL not in page.html
        assert len(page.all("script")) == 2
        assert page.html.count("</script") == 2
        assert not page.all("b") or all(not attributes for attributes in page.all("b"))
        assert not any("onerror" in attributes for _, attributes in page.tags)
        assert not any(attributes.get("src") == "x" for attributes in page.all("img"))
        # It is all there, as text.
        assert any(EVIL in str(p["own"]) for p in page.data["pictures"].values())
        assert "&lt;/script&gt;&lt;img" in page.html
    assert sentence("take `<b>` & go") == "Take <code>&lt;b&gt;</code> &amp; go."


def test_a_run_that_was_not_judged(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for folder, name in (("images", "a-bird"), ("images", "sheet"), ("previews", "step-00000050")):
        Image.new("RGB", (40, 40), (len(name), 9, 9)).save(run.folder(folder) / f"{name}.png")
    html = Page(report([run.path])).html
    assert f"kaiffin choose {run.path}" in html
    assert "Pictures made with it" in html
    assert "Previews during the training" in html
    assert html.count("data:image/webp") == 2 + 2  # the photos; the sheet is no picture
    assert "none inside this file" in html
    assert "Nothing was scored yet" in html
    assert 'class="line"' in html


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for path in (run.metrics_path, run.adapter_path, run.path / "manifest.json"):
        path.unlink()
    (run.path / "data" / "manifest.json").unlink()
    html = report([run.path]).read_text()
    assert f"kaiffin resume {run.path}" in html
    for said in ("not finished", "does not say which photos", "No loss was recorded"):
        assert said in html


def test_what_is_gone_is_said(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    choice = judge(run)
    Image.new("RGB", (64, 48), "green").save(tmp_path / "photos" / "one.png")  # another picture
    (tmp_path / "photos" / "two.png").unlink()
    Image.new("RGB", (90, 90), "white").save(run.path / "data" / "contact_sheet.png")
    (run.path / choice["base"]["pictures"][0]).unlink()
    (run.path / choice["candidates"][1]["pictures"][2]).write_bytes(b"no picture")
    page = Page(report([run.path]))
    assert "2 of the photos are no longer at" in page.html
    assert "This sheet was made when they were read" in page.html
    assert page.html.count("this picture is gone") == 2
    keys = [key for stop in page.data["runs"]["run1"] for key, _ in stop["cells"].values()]
    assert keys.count(None) == 2


def test_no_path_leaves_the_run(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    choice = judge(run)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (16, 16), (1, 2, 3)).save(secret)
    choice["base"]["pictures"][0] = "../secret.png"
    choice["base"]["pictures"][1] = str(secret)
    run.write_json("choice.json", choice)
    photos = run.read_json("data/manifest.json")
    digest = hashlib.sha256(secret.read_bytes()).hexdigest()
    photos["photos"][0] |= {"file": "../secret.png", "sha256": digest}
    run.write_json("data/manifest.json", photos)
    html = report([run.path]).read_text()
    assert encoded(secret, 512).url not in html
    assert html.count("this picture is gone") == 2


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"chosen": 7}, {"candidates": 3}, {"set": {}}, {"candidates": []},
        {"base": {"pictures": [], "rows": []}},
    ],
)  # fmt: skip
def test_a_damaged_choice_names_the_way_out(tmp_path: Path, change: dict) -> None:
    run = made_run(tmp_path / "run")
    run.write_json("choice.json", judge(run) | change)
    with pytest.raises(RunError, match=r"choice\.json.*kaiffin choose"):
        report([run.path])


def test_remarks_on_the_photos(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    facts = run.read_json("data/manifest.json")
    more = {
        "refused": [{"what": "a.jpg", "reason": "is <b>empty"}],
        "findings": [
            {"level": "warning", "photo": "one.png", "what": "is blurred", "fix": ""},
            {"level": "info", "photo": "", "what": "all is well", "fix": ""},
        ],
    }
    run.write_json("data/manifest.json", facts | more)
    html = report([run.path]).read_text()
    assert "2 remarks on the photos" in html
    assert "left out: a.jpg: is &lt;b&gt;empty" in html
    assert "one.png: is blurred" in html
    assert "all is well" not in html
    run.write_json("data/manifest.json", {"photos": [{"file": "one.png", "size": 3}]})
    with pytest.raises(RunError, match=r"manifest\.json: is damaged"):
        report([run.path])


def test_scores_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    choice = judge(run)
    choice["candidates"][1]["rows"][0]["identity"] = float("nan")
    choice["candidates"][0]["means"]["win"]["mean"] = float("nan")
    run.write_json("choice.json", choice)
    assert "nan" not in report([run.path]).read_text().lower().replace("nance", "")


# --- size and pictures --------------------------------------------------------------------------


def photo_like() -> np.ndarray:
    """512 px with shapes and grain, which costs about as many bytes as a photo does."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((512, 512), Image.Resampling.BICUBIC))
    return (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)


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
    path = report([run.path])
    page = Page(path)
    assert len(page.data["pictures"]) == 9 * 40 + 2
    assert path.stat().st_size < reports.LIMIT
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
    monkeypatch.setattr(reports, "LIMIT", 400_000)
    page = Page(report([run.path]))
    assert "had no room in this page" in page.html
    assert [stop["label"] for stop in page.data["runs"]["run1"]] == ["base", "step 80"]
    assert len([i for i in page.all("img") if i.get("src")]) == 2 + 20


def encoded(path: Path, side: int) -> albums.Encoded:
    return albums.encode(albums.opened(path), side, 90)


def opened(url: str) -> Image.Image:
    data = base64.b64decode(url.removeprefix("data:image/webp;base64,"))
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_small_pictures_keep_every_bit(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 48), "white")
    image.putpixel((3, 5), (255, 0, 0))
    image.save(tmp_path / "small.png")
    made = encoded(tmp_path / "small.png", 512)
    assert (made.width, made.height, made.crisp) == (64, 48, True)
    assert opened(made.url).tobytes() == image.tobytes()


def test_photos_of_phones_are_upright_and_small(tmp_path: Path) -> None:
    image = Image.new("RGB", (1200, 800), "blue")
    image.paste("red", (0, 0, 600, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to view: the left half comes to the top
    image.save(tmp_path / "phone.jpg", exif=exif)
    made = encoded(tmp_path / "phone.jpg", 256)
    shown = opened(made.url)
    assert shown.size == (made.width, made.height) == (170, 256)
    assert not made.crisp
    top, bottom = shown.getpixel((85, 40)), shown.getpixel((85, 215))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 200 > 60 > top[2]
    assert bottom[2] > 200 > 60 > bottom[0]


# --- files and words ----------------------------------------------------------------------------


def test_only_a_report_is_overwritten(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    first = report([run.path]).read_bytes()
    assert report([run.path]).read_bytes() == first
    own = tmp_path / "own.html"
    own.write_text("<h1>my page</h1>")
    with pytest.raises(RunError, match="is no report of Kaiffin's"):
        report([run.path], own)
    assert own.read_text() == "<h1>my page</h1>"
    with pytest.raises(RunError, match="cannot be written"):
        report([run.path], tmp_path / "gone" / "report.html")
    assert not list(tmp_path.rglob("*.part"))


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(tmp_path / "run")
    shown: list[str] = []
    monkeypatch.setattr(click, "launch", shown.append)
    assert main(["report", str(run.path)]) == 0
    assert str(run.report_path) in capsys.readouterr().out
    assert not shown
    out = tmp_path / "page.html"
    assert main(["report", str(run.path), "--out", str(out), "--open"]) == 0
    assert shown == [str(out)]
    assert main(["report", str(tmp_path)]) == 2
    assert "is no run folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(44.6, "45 s"), (725, "12 min 5 s"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_it_needs_no_torch(tmp_path: Path) -> None:
    run: Run = made_run(tmp_path / "run")
    judge(run)
    code = (
        "import sys; from kaiffin.cli import main; main(['report', sys.argv[1]]);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True)
    assert done.returncode == 0, done.stderr
