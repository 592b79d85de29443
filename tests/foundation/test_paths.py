"""What the paths in a config mean: from any working folder, and in a run's own config.yaml."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import grainy_photos

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import MissingWeightsError, PhotoError
from kaiffin.foundation.hashes import cache_folder
from kaiffin.foundation.paths import anchored
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, dump
from kaiffin.foundation.tell import SILENT
from kaiffin.foundation.whereabouts import photo_folders, with_photo_folders
from kaiffin.models.files.resolve import locate, locate_vae
from kaiffin.score.judge import Scorer
from kaiffin.stories.prepare import prepare


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


NOBODY = "~nobody-of-that-name"
READ: dict[str, Callable[[], object]] = {
    "a base": lambda: locate(NOBODY, tell=SILENT),
    "a base's VAE": lambda: locate_vae(NOBODY, tell=SILENT),
    "a judge": lambda: Scorer(NOBODY, tell=SILENT),
}


def test_a_folder_may_begin_as_a_home_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """~x is a name where x is no user here: what is there is read."""
    monkeypatch.chdir(tmp_path)
    config = build({"data": {"photos": NOBODY}})
    assert anchored(config).data.photos == tmp_path / NOBODY
    with pytest.raises(PhotoError, match=f"{NOBODY}: there is no such folder"):
        prepare(config)
    (tmp_path / NOBODY).mkdir()
    grainy_photos(tmp_path / NOBODY, 1)
    assert len(prepare(config).prepared.examples) == 1
    monkeypatch.setenv("KAIFFIN_CACHE", NOBODY)
    assert cache_folder() == Path(NOBODY)


@pytest.mark.parametrize("what", READ)
def test_what_is_not_there_is_said_also_of_nobodys_home(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingWeightsError, match=NOBODY):
        READ[what]()
