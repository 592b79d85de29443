"""The data folder: one server, ids that are no paths, all there again after a restart."""

from pathlib import Path

import pytest

from kaiffin.foundation.errors import RunError
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
