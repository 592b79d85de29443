"""Extras: each one absent is named with the command that brings it."""

import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from conftest import FEW, REPO

from kaiffin.cli.main import main
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.extras import EXTRAS, absent, command, needs

TRAIN = ["train", "PHOTOS", "--base", "BASE", "--class", "dog", "--adapter.targets", FEW]


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [
        ("pillow_heif", ["prepare", "PHONE", "--class", "dog"], "heif"),
        ("ray", ["sweep", "sweep.yaml", "--on", "ray"], "ray"),
        ("pytorch_optimizer", [*TRAIN, "--train.optimizer", "lion"], "optimizers"),
        ("bitsandbytes", [*TRAIN, "--base.quantize", "nf4"], "8bit"),
    ],
)
def test_an_absent_extra_is_named_with_its_command(
    package: str, words: list[str], extra: str, photos6: Path, sd_path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """That of serve: tests/test_wheel.py; of lycoris, which costs a proof: adapters/elsewhere."""
    monkeypatch.chdir(tmp_path)
    phone = tmp_path / "phone"
    phone.mkdir()
    (phone / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    (tmp_path / "base.yaml").write_text("data: {photos: photos}\nsubject: {noun: dog}\n")
    prompts = "prompts: [a dog]\ncount: 1\n"
    (tmp_path / "sweep.yaml").write_text(f"config: base.yaml\n{prompts}trials: {{one: {{}}}}\n")
    places = {"PHOTOS": photos6, "BASE": sd_path, "PHONE": phone}
    monkeypatch.setitem(sys.modules, package, None)
    assert main([str(places.get(word, word)) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"needs the extra {extra}. Install it: " in said
    assert f" -m pip install 'kaiffin[{extra}]'" in said


def test_a_package_that_is_there_and_broken_keeps_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModuleNotFoundError, match="inner"), needs("heif", "x", PhotoError):
        raise ModuleNotFoundError("No module named 'inner'", name="inner")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert absent("heif") == ["pillow_heif"]
    assert absent("serve") == []


def test_the_python_of_a_clone_is_named_as_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / ".venv" / "bin" / "python"))
    assert command("heif") == ".venv/bin/python -m pip install 'kaiffin[heif]'"
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert command("heif") == "python -m pip install 'kaiffin[heif]'"


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = project["optional-dependencies"]
    providers = metadata.packages_distributions()
    for extra, names in EXTRAS.items():
        brought = {one.split(">=")[0].split("[")[0].lower() for one in listed[extra]}
        assert {providers[name][0].lower().replace("_", "-") for name in names} == brought
