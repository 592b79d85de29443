"""The report: one file, no network, everything escaped, under its size, sensible when empty."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from html_page import Page
from made_run import STEPS, judge, made_run
from PIL import Image

from kaiffin.cli.main import main
from kaiffin.foundation.run import Run
from kaiffin.stories.report import Report, report


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with its choice; only to be read."""
    run = made_run(tmp_path_factory.mktemp("judged") / "run")
    judge(run)
    return run


def test_a_full_page(judged: Run) -> None:
    run = judged
    path = report([run.path]).path
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


def test_the_answer_says_where_it_is(judged: Run, capsys: pytest.CaptureFixture[str]) -> None:
    answer = report([judged.path, judged.path])
    assert answer == Report(judged.report_path, (judged.path,))  # named twice, and in it once
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_picture_shows_its_recipe(judged: Run) -> None:
    run = judged
    data = Page(report([run.path]).path).data
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
    page = Page(report([run.path]).path)
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
    again = Page(report([run.path]).path).html
    assert again.count("data:image/webp") == pictures + 2 - len(choice["base"]["pictures"])


def test_a_run_that_was_not_judged(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for folder, name in (("images", "a-bird"), ("images", "sheet"), ("previews", "step-00000050")):
        Image.new("RGB", (40, 40), (len(name), 9, 9)).save(run.folder(folder) / f"{name}.png")
    html = Page(report([run.path]).path).html
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
    html = report([run.path]).path.read_text()
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
    page = Page(report([run.path]).path)
    assert "2 of the photos are no longer at" in page.html
    assert "This sheet was made when they were read" in page.html
    assert page.html.count("this picture is gone") == 2
    keys = [key for stop in page.data["runs"]["run1"] for key, _ in stop["cells"].values()]
    assert keys.count(None) == 2


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


def test_it_needs_no_torch(judged: Run) -> None:
    run = judged
    code = (
        "import sys; from kaiffin.cli import main; main(['report', sys.argv[1]]);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True)
    assert done.returncode == 0, done.stderr
