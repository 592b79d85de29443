"""What pictures are made with: a run's settings and adapters, or a base."""

from pathlib import Path

import pytest
from made_run import judge, made_run

from kaiffin.foundation.errors import ConfigError, RunError, UserError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.whereabouts import content_sha256
from kaiffin.pictures.source import checkpoint_of, find_adapter, of_run, open_source


def test_a_run_with_its_settings_but_the_base_s_size(tmp_path: Path) -> None:
    made = made_run(tmp_path / "run", **{"sample.steps": 7, "sample.size": "64x96"})
    run, config = open_source(str(made.path), {"sample.guidance": "2"})
    assert run is not None
    assert run.path == made.path
    assert (config.sample.steps, config.sample.guidance, config.sample.size) == (7, 2.0, None)
    assert open_source(str(made.path), {"sample.size": "32x32"})[1].sample.size == (32, 32)


def test_a_base_by_its_name() -> None:
    run, config = open_source("miniature-xl")
    assert run is None
    assert config.base.name == "miniature-xl"
    with pytest.raises(ConfigError, match=r"sample\.steps = 0"):
        open_source("miniature", {"sample.steps": 0})


def test_the_adapter_of_a_finished_run(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    assert [one.path for one in of_run(run)] == [run.adapter_path]
    assert [one.path for one in of_run(run, blended=True)] == [run.adapter_path]
    run.adapter_path.unlink()
    with pytest.raises(RunError, match=r"is not finished\. Run `kaiffin resume"):
        of_run(run)


def test_to_blend_the_files_of_both_phases(tmp_path: Path) -> None:
    phases = [{"name": "face", "own_adapter": True}, {"name": "body", "own_adapter": True}]
    run = made_run(tmp_path / "run", phases=phases)
    assert [one.path for one in of_run(run)] == [run.adapter_path]
    parts = [run.part_path("face"), run.part_path("body")]
    assert [one.path for one in of_run(run, blended=True)] == parts


def test_checkpoints(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    with pytest.raises(RunError, match="nothing is chosen yet"):
        checkpoint_of(run, "best")
    judge(run)
    assert checkpoint_of(run, "best") == run.best_path
    path = run.candidate_path(40)
    path.parent.mkdir()
    path.write_bytes(b"candidate")
    assert checkpoint_of(run, "40") == path
    with pytest.raises(RunError, match=r"has no candidate '41'\. There are best and: 40\."):
        checkpoint_of(run, "41")
    with pytest.raises(RunError, match="none is named"):
        checkpoint_of(None, "best")


@pytest.mark.parametrize(
    "to",
    ["recorded.safetensors", "pictures/x.safetensors", "run/other.safetensors",
     "run/candidates/x.safetensors", "work/x.safetensors", "work/runs/a/x.safetensors",
     "work/runs/a/candidates/x.safetensors"],
)  # fmt: skip
def test_an_adapter_is_found_by_its_content(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture lies in the run or anywhere; a file of the same name that is another is none."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = tmp_path / to
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"the adapter")
    entry = {"path": str(tmp_path / "recorded.safetensors"), "name": "recorded",
             "sha256": file_sha256(path)}  # fmt: skip
    below = "run/images" if to.startswith("run/") else "pictures"
    picture = tmp_path / below / "a.png"
    assert find_adapter(picture, entry) == path
    path.write_bytes(b"another")
    with pytest.raises(UserError, match=r"recorded \(SHA-256 [0-9a-f]{12}\) is missing or has"):
        find_adapter(picture, entry)


def test_an_adapter_beside_the_pictures_of_a_project_that_moved(tmp_path: Path) -> None:
    # By its path of then, as the picture lies in no folder of the run.
    path = tmp_path / "moved" / "runs" / "one" / "deep" / "a.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"the adapter")
    entry = {"path": "runs/one/deep/a.safetensors", "name": "a", "sha256": file_sha256(path)}
    assert find_adapter(tmp_path / "moved" / "images" / "x.png", entry) == path


@pytest.mark.parametrize("tower", ["", "unet"])
def test_a_peft_folder_is_found_again(tower: str, tmp_path: Path) -> None:
    """A folder for each tower as a whole; of one for a single tower, the file in it."""
    before, now = tmp_path / "before", tmp_path / "run" / "renamed"
    file = now / tower / "adapter_model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"the adapter")
    moved = now if tower else file
    entry = {"path": str(before / moved.relative_to(now)), "name": "before",
             "sha256": content_sha256(moved)}  # fmt: skip
    assert find_adapter(tmp_path / "run" / "images" / "a.png", entry) == moved
