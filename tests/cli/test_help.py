"""The pages of help: whole sentences, 80 columns, colour on a terminal alone."""

import os
import pty
import subprocess
import sys

import pytest
from conftest import REPO

from kaiffin.cli.help import Group
from kaiffin.cli.main import ADAPTER, app, main

KAIFFIN = [sys.executable, "-m", "kaiffin"]


def page(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words.split()) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("group", "words"), [(app, "--help"), (ADAPTER, "adapter --help")])
def test_every_command_is_explained_in_whole(
    group: Group, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(page(words, capsys).split())
    for command in group.commands.values():
        assert f"{command.name} {' '.join((command.help or '').split())}" in text


@pytest.mark.parametrize("words", ["--help", "train --help-all", "grid --help", "adapter --help"])
def test_a_page_fits_80_columns_and_is_plain_in_a_pipe(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = page(words, capsys)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "..." not in text


def test_train_shows_its_named_flags_and_the_way_to_all_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = page("train --help", capsys)
    for flag in ("--subject", "--class", "--base", "--resolution", "--steps", "--seed"):
        assert f"  {flag} " in text
    assert "--help-all" in text
    assert "--train.lr" not in text
    everything = page("train --help-all", capsys)
    assert "--train.lr X" in everything
    assert "--train.schedule constant|linear|cosine" in everything
    assert "--subject TEXT" in everything


def test_a_call_without_a_command_shows_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapter"]) == 2
    shown = capsys.readouterr()
    assert "export-comfy" in shown.out
    assert not shown.err


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_has_colour_unless_it_is_not_wanted(no_color: str, coloured: bool) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"NO_COLOR": no_color, "TERM": "xterm"}
    subprocess.run([*KAIFFIN, "--help"], stdout=theirs, env=environment, check=True, cwd=REPO)
    os.close(theirs)
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "prepare" in text or len(text) > 500
    assert ("\x1b[36m" in text) is coloured
