"""Every place where a person's text becomes a file name; the subject's word: test_train.py."""

from pathlib import Path

import pytest
import yaml

from kaiffin.cli.main import main
from kaiffin.experiments.sweep.trials import read
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.folder import LONGEST
from kaiffin.foundation.settings import build, override
from kaiffin.pictures.request import slug
from kaiffin.stories import prepare


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A photo of <kai> thing, in the snow!", "a-photo-of-kai-thing-in-the-snow"),
        ("../../etc/passwd", "etc-passwd"), ("CON", "_con"), ("?!", "picture"), ("_ _", "picture"),
        ("𠀀" * 60, "𠀀" * 30),  # four bytes each
    ],
)  # fmt: skip
def test_a_prompt(prompt: str, name: str) -> None:
    assert slug(prompt) == name
    assert len(f".{slug(prompt)}-seed4294967295-100.png.1234567.part".encode()) < 255


def test_the_folder_of_photos(folder: Path, sd_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = folder.rename(folder.with_name("..my photos:1."))
    monkeypatch.chdir(folder.parent)
    given = {"data.photos": str(photos), "base.name": str(sd_path), "subject.noun": "thing"}
    found = prepare.prepare(build(override({}, given)))
    assert found.sheet == Path("prepared/my photos_1/contact_sheet.png")
    assert found.sheet.is_file()


def sweep_file(path: Path, name: str) -> Path:
    (path.parent / "base.yaml").write_text("subject: {noun: thing}\n")
    file = {"config": "base.yaml", "prompts": ["a {token}"], "trials": {name: {}}}
    path.write_text(yaml.safe_dump(file, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["../a", "a/b", ".a", "-a", "con.a", "a" * 200, "щ" * 80, "a\n"])
def test_a_trial_that_is_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a folder"):
        read(sweep_file(tmp_path / "sweep.yaml", name))


@pytest.mark.parametrize("name", ["a", "rank=4,lr=1e-5", "con", "lr_", "Проба", "a.b+c"])
def test_a_trial_that_is_one(name: str, tmp_path: Path) -> None:
    _, (trial,) = read(sweep_file(tmp_path / "sweep.yaml", name))
    assert trial.run == f"{name}-seed0"


def test_a_grid_of_long_values(tmp_path: Path) -> None:
    path = sweep_file(tmp_path / "sweep.yaml", "a")
    file = yaml.safe_load(path.read_text()) | {"trials": {}, "grid": {"subject.token": ["щ" * 200]}}
    path.write_text(yaml.safe_dump(file))
    _, (trial,) = read(path)
    assert len(trial.name.encode()) <= LONGEST


def test_the_file_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep itself is not run; its folder is asked for."""
    from kaiffin.stories import sweep

    asked: list[Path] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "run", lambda _, out, *__, **___: asked.append(out) or True)
    for name in ("con.yaml", "...yaml", "my sweep.yaml"):
        main(["sweep", str(sweep_file(tmp_path / name, "a"))])
    assert asked == [Path("sweeps") / name for name in ("_con", "sweep", "my sweep")]


@pytest.mark.parametrize("name", ["../x", "A", "", "-a", "a" * 41, "a\n"])
def test_a_phase(name: str) -> None:
    with pytest.raises(ConfigError, match=r"phases"):
        build({"phases": [{"name": name}], "subject": {"noun": "thing"}})
