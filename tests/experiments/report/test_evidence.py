"""What a run folder tells: all of it, what is gone, and nothing from outside."""

import hashlib
from pathlib import Path

import pytest
from made_run import judge, made_run
from PIL import Image

from kaiffin.experiments.report.album import encode, opened
from kaiffin.experiments.report.evidence import read
from kaiffin.foundation.errors import RunError
from kaiffin.stories.report import report


def test_pictures_whose_prompt_begins_like_a_sheet_are_there(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    names = ["a-bird-seed0", "best-friends-seed0", "sheets-of-ice-seed1"]
    for name in (*names, "sheet", "sheet-2", "best", "best-3"):
        Image.new("RGB", (8, 8)).save(run.folder("images") / f"{name}.png")
    assert [path.stem for path in read(run).images] == names


def test_everything_is_optional_but_the_config(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    whole = read(run)
    assert (whole.name, whole.step, whole.seconds) == ("run", 120, 60.0)
    assert [(p.name, p.held_out, p.size) for p in whole.photos] == [
        ("one.png", False, (64, 48)), ("two.png", True, (64, 48)),
    ]  # fmt: skip
    assert whole.choice is None
    for path in (run.metrics_path, run.manifest_path, run.proof_path, run.photos_manifest):
        path.unlink()
    found = read(run)
    assert (found.step, found.seconds, found.photos, found.notes) == (0, 0, [], [])
    assert (found.manifest, found.proof) == ({}, {})


def test_the_photos_of_every_phase(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", phases=[{"name": "a"}, {"name": "b", "photos": "other"}])
    listed = run.read_json("data/manifest.json")
    assert len(read(run).photos) == 2
    (run.photos_folder(2)).mkdir()
    others = [photo | {"sha256": "0" * 64} for photo in listed["photos"]]
    run.write_json("data-2/manifest.json", listed | {"photos": others})
    found = read(run).photos
    assert len(found) == 4
    assert [photo.path is not None for photo in found] == [True, True, False, False]


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
    html = report([run.path]).path.read_text()
    assert encode(opened(secret), 512, 90).url not in html
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
    html = report([run.path]).path.read_text()
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
    assert "nan" not in report([run.path]).path.read_text().lower().replace("nance", "")
