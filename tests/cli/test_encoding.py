"""`--json` and `--quiet`, of every command: one document on stdout, all else elsewhere.

That each story's answer can be encoded at all: tests/stories/test_silence.py.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from conftest import FEW, grainy_photos

from kaiffin.cli.encoding import document, plain
from kaiffin.cli.help import Group
from kaiffin.cli.main import app, main
from kaiffin.cli.settings import SchemaCommand
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.folder import Folder


@dataclass(frozen=True)
class Value:
    path: Path
    low: float
    parts: dict[int, tuple[str, ...]]

    @property
    def good(self) -> bool:
        return True

    @property
    def far(self) -> list[str]:
        return ["said elsewhere"]


def test_an_answer_in_json() -> None:
    value = Value(Path("a/b"), float("nan"), {1: ("x",)})
    assert json.loads(document(value)) == {
        "path": "a/b", "low": None, "parts": {"1": ["x"]}, "good": True
    }  # fmt: skip
    assert plain([np.float32(0.5), np.int64(3), {"b", "a"}]) == [0.5, 3, ["a", "b"]]
    assert plain(UserError("no", "Do x.")) == {"problem": "no", "way_out": "Do x."}
    assert plain(Folder(Path("runs/a"))) == "runs/a"
    assert plain(torch.device("cpu")) == "cpu"


@pytest.mark.parametrize("value", [torch.zeros(2), np.zeros(2), object(), b"x"])
def test_what_is_no_part_of_an_answer(value: object) -> None:
    with pytest.raises(TypeError):
        document({"value": value})


# --- every command --------------------------------------------------------------------------------


def leaves(group: click.Group) -> Iterator[SchemaCommand]:
    for command in group.commands.values():
        if isinstance(command, Group):
            yield from leaves(command)
        else:
            assert isinstance(command, SchemaCommand)
            yield command


def test_every_command_takes_both_and_answers_by_one_door() -> None:
    found = list(leaves(app))
    assert len(found) > 25
    for command in found:
        taken = {name for one in command.get_params(click.Context(command)) for name in one.opts}
        assert {"--json", "--quiet"} <= taken, command.name
        tree = ast.parse(textwrap.dedent(inspect.getsource(command.schema.__call__)))
        called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert "self.answer" in called, command.schema
        assert not [name for name in called if name.startswith(("show.", "print"))
                    and "lambda" not in ast.unparse(tree)], command.schema  # fmt: skip


@pytest.fixture(scope="module")
def world(sd_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and a run."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "photos").mkdir()
    grainy_photos(folder / "photos", 3)
    more = ["--data.prior.weight", "0", "--train.tensorboard", "false", "--adapter.targets", FEW]
    call = ["train", str(folder / "photos"), "--base", str(sd_path), "--class", "thing"]
    assert main([*call, "--steps", "1", "--out", str(folder / "run"), *more, "--quiet"]) == 0
    return folder


TRAIN = "train photos --base BASE --class thing --adapter.targets " + FEW
COMMANDS = (
    "options", "bases", "doctor --quick", "keys add NEW --data studio",
    "keys --data studio", "report run",
    "prepare photos --class thing --base BASE", f"{TRAIN} --dry-run", "resume run",
    "generate run kaiffin --steps 1 --out images",
    "adapter inspect run/kaiffin.safetensors --base BASE",
    "adapter diff run/kaiffin.safetensors run/kaiffin.safetensors --base BASE",
    "adapter convert run/kaiffin.safetensors OUT --to peft --base BASE",
    "adapter verify run/kaiffin.safetensors --base BASE", "adapter export-comfy run",
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_a_document_says_what_the_screen_says(
    words: str, world: Path, sd_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Every file that the screen names is in the document; nothing else is on stdout."""
    monkeypatch.chdir(world)
    monkeypatch.setenv("KAIFFIN_HOME", str(world / "home"))

    def said(*more: str) -> tuple[str, str]:
        new = f"out{len(list(world.iterdir()))}-{bool(more)}"
        meant = {"BASE": str(sd_path), "OUT": new, "NEW": new}
        call = [meant.get(word, word) for word in words.split()]
        assert main([*call, *more]) == 0
        return capfd.readouterr()

    screen, nothing = said("--quiet") if words.startswith("keys") else said()
    assert nothing == ""
    text, _ = said("--json")
    assert json.loads(text)
    named = {word.strip(",:.;`") for word in screen.split() if "/" in word}
    files = {word for word in named if (world / word).is_file() and "/out" not in word}
    renewed = {word for word in files if Path(word).parent.name == "images"}
    assert [word for word in files - renewed if json.dumps(word)[1:-1] not in text] == []


def test_what_is_told_on_the_way_goes_to_stderr_or_nowhere(
    world: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    call = ["generate", "run", "kaiffin", "--steps", "1", "--out", "more", "--seed", "-1"]
    assert main(call) == 0
    assert "drawn as --seed -1 asks" in capfd.readouterr().out
    assert main([*call, "--json"]) == 0
    out, err = capfd.readouterr()
    assert "drawn as --seed -1 asks" in err
    assert len(json.loads(out)["pictures"]) == 1
    assert main([*call, "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert (out.count("\n"), err) == (1, "")


def test_an_error_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "gone", "--json"]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
