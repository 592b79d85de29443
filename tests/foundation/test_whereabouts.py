"""Files and folders are known again by their content, wherever they and the asker are."""

import json
import shutil
from pathlib import Path

import pytest
from made_run import made_run

from kaiffin.foundation.run import Run
from kaiffin.foundation.whereabouts import (
    content_sha256,
    photos_now,
    place,
    with_photo_folders,
)


def test_the_content_of_a_folder_is_its_files_and_their_names(tmp_path: Path) -> None:
    made = []
    for name, inner, text in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")):
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / inner).write_text(text)
        made.append(content_sha256(tmp_path / name))
    assert made[0] == made[1]
    assert len(set(made)) == 3
    assert content_sha256(tmp_path / "nowhere") == ""


def moved_run(run: Run, to: Path) -> Run:
    """The whole folder of the run with its photos, elsewhere."""
    shutil.move(run.path.parent, to)
    return Run.open(to / run.path.name)


@pytest.mark.parametrize("recorded", [True, False], ids=["with a record", "an older run"])
def test_photos_are_found_after_a_move(
    recorded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(tmp_path / "a" / "run")
    here = tmp_path / "a" / "photos"
    assert photos_now(run) == [here]
    if recorded:
        entries = json.loads(run.photos_manifest.read_text())["photos"]
        run.write_json("beginning.json", {"photos": [place(run, here) | {"photos": entries}]})
    run = moved_run(run, tmp_path / "b")
    assert photos_now(run) == [tmp_path / "b" / "photos"]
    other = tmp_path / "b" / "renamed"
    (tmp_path / "b" / "photos").rename(other)
    (tmp_path / "b" / "photos").mkdir()
    (tmp_path / "b" / "photos" / "one.png").write_bytes(b"another")
    assert photos_now(run) == [other]
    shutil.move(other, tmp_path / "work" / "photos")
    assert photos_now(run) == [here], "as the config says, where they are nowhere"
    monkeypatch.chdir(tmp_path / "work")
    assert photos_now(run) == [tmp_path / "work" / "photos"]


def test_an_older_run_says_where_its_photos_were_from_where_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(tmp_path / "runs" / "one")
    shutil.move(tmp_path / "runs" / "photos", tmp_path / "pics" / "mine")
    run = Run(run.path, with_photo_folders(run.config, [Path("pics") / "mine"]))
    monkeypatch.chdir(tmp_path / "runs")
    assert photos_now(run) == [tmp_path / "pics" / "mine"]


def test_a_damaged_manifest_finds_nothing(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for photos in (3, [3], [{"file": "a"}], {}, [{"file": 3, "sha256": None}]):
        run.photos_manifest.write_text(json.dumps({"photos": photos}))
        assert photos_now(run) == [tmp_path / "photos"]
