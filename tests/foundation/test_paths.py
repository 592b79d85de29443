"""What the paths in a config mean: from any working folder, and in a run's own config.yaml."""

import json
from pathlib import Path

import pytest

from kaiffin.foundation.config import Config
from kaiffin.foundation.paths import anchored
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, dump
from kaiffin.foundation.whereabouts import photo_folders, with_photo_folders


def test_paths_become_absolute_and_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bases" / "mine").mkdir(parents=True)
    (tmp_path / "miniature").mkdir()  # a folder of the same name makes no path of an alias
    given = build({
        "data": {"photos": "pics"}, "adapter": {"init_from": "../a.safetensors"},
        "base": {"vae": "bases/mine"}, "phases": [{"name": "a"}, {"name": "b", "photos": "more"}],
        "score": {"judge": "org/model"},
    })  # fmt: skip
    made = anchored(given)
    assert made.data.photos == tmp_path / "pics"
    assert made.adapter.init_from == tmp_path.parent / "a.safetensors"
    assert (made.base.name, made.base.vae) == ("miniature", str(tmp_path / "bases" / "mine"))
    assert made.score.judge == "org/model"
    assert photo_folders(made) == [tmp_path / "pics", tmp_path / "more"]
    assert anchored(made) == made == build(json.loads(made.model_dump_json()))
    assert anchored(Config()) == Config()
    assert dump(with_photo_folders(made, [tmp_path / "pics", tmp_path / "more"])) == dump(made)
    moved = with_photo_folders(made, [Path("/x"), Path("/y")])
    assert photo_folders(moved) == [Path("/x"), Path("/y")]


PLACES = (
    "score.like", "score.prompts", "score.judge", "data.photos", "adapter.init_from", "base.name",
    "base.vae", "phases",
)  # fmt: skip


@pytest.mark.parametrize("setting", PLACES)
def test_a_relative_path_in_a_run_is_of_the_run_else_of_the_working_folder(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, here = tmp_path / "run", tmp_path / "here"
    for folder in (run / "my" / "a", here / "my" / "a", here / "my" / "b"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(here)

    def meant(path: str) -> str:
        section, _, name = setting.partition(".")
        data = {section: {name: path}} if name else {"phases": [{"name": "x", "photos": path}]}
        (run / "config.yaml").write_text(json.dumps(data))
        config = Run.open(run).config
        found = getattr(getattr(config, section), name) if name else config.phases[0].photos
        return str(found)

    assert meant("my/a") == str(run / "my" / "a")
    assert meant("my/b") == str(here / "my" / "b")
    assert meant("my/c") == "my/c"  # nowhere: as it was written
    assert meant(str(here / "my" / "a")) == str(here / "my" / "a")


def test_a_folder_may_begin_as_a_home_does() -> None:
    given = build({"data": {"photos": "~nobody-of-that-name"}})
    assert anchored(given).data.photos == Path.cwd() / "~nobody-of-that-name"
