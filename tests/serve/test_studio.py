"""The data folder: one server, ids that are no paths, all there again after a restart."""

import contextlib
from pathlib import Path

import pytest

from kaiffin.foundation.errors import RunError
from kaiffin.foundation.folder import write_bytes
from kaiffin.serve.jobs import NotFound
from kaiffin.serve.studio import Studio


def test_all_is_there_again_when_it_is_opened_again(tmp_path: Path) -> None:
    studio = Studio.open(tmp_path / "studio")
    job = studio.jobs.submit("ann", "scan", {})
    studio.close()
    again = Studio.open(tmp_path / "studio")
    assert again.jobs.get("ann", job.id) == job
    again.close()


def test_a_second_server_is_refused_by_name(tmp_path: Path) -> None:
    studio = Studio.open(tmp_path / "studio")
    with pytest.raises(RunError, match=r"studio: is in use by process \d+, which serves it"):
        Studio.open(tmp_path / "studio")
    studio.close()


def test_a_database_that_is_refused_gives_the_folder_free(tmp_path: Path) -> None:
    (tmp_path / "studio.sqlite").write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(RunError, match="cannot be used"):
            Studio.open(tmp_path)


@pytest.mark.parametrize("id", ["", "..", "../x", "a/b", "A", "a" * 33, "a\0", "é", "a.b"])
def test_what_is_no_id_becomes_no_path(tmp_path: Path, id: str) -> None:
    studio = Studio(tmp_path)
    for place in (studio.dataset, studio.run, studio.adapter, studio.image, studio.made):
        with pytest.raises(NotFound):
            place(id)


def test_files_lie_inside_by_their_ids(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    assert studio.image("ab12-0") == tmp_path / "images" / "ab" / "ab12-0.png"
    assert studio.run("ab12") == tmp_path / "runs" / "ab12"


def test_a_job_keeps_the_photos_that_it_was_submitted_with(tmp_path: Path) -> None:
    studio = Studio.open(tmp_path)
    for name in ("photos0000000000", "others0000000000"):
        studio.dataset(name).mkdir()
        (studio.dataset(name) / "1.txt").write_text(name)
    asked = {"dataset": "photos0000000000", "like": "others0000000000",
             "phase_datasets": {"second": "others0000000000"},
             "subject_datasets": ["others0000000000"]}  # fmt: skip
    job = studio.jobs.submit("ann", "train", asked)
    write_bytes(studio.dataset("photos0000000000") / "1.txt", b"another caption")
    (studio.dataset("others0000000000") / "1.txt").unlink()
    kept = {path.parent.name: path.read_text() for path in studio.made(job.id).glob("*/1.txt")}
    assert kept == {
        "photos": "photos0000000000", "like": "others0000000000",
        "phase-second": "others0000000000", "subject-2": "others0000000000",
    }  # fmt: skip
    with pytest.raises(NotFound, match="nothere"):
        studio.jobs.submit("ann", "train", {"dataset": "nothere000000000"})
    assert studio.jobs.count("ann") == 1
    studio.close()


def test_a_submission_that_comes_to_nothing_leaves_nothing(tmp_path: Path) -> None:
    studio = Studio.open(tmp_path)
    studio.dataset("photos0000000000").mkdir()
    made = tmp_path / "made"
    asked = {"dataset": "photos0000000000"}
    with pytest.raises(NotFound):
        studio.jobs.submit("ann", "train", {**asked, "like": "nothere000000000"})
    assert not list(made.iterdir())
    kept = studio.jobs.submit("ann", "train", asked)
    with contextlib.suppress(OSError), studio.db.transaction():
        studio.jobs.submit("ann", "train", asked)
        raise OSError("the disk is full")
    assert len(list(made.iterdir())) == 2
    studio.close()
    Studio.open(tmp_path).close()
    assert [path.name for path in made.iterdir()] == [kept.id]
