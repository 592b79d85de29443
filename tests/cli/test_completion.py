"""Completion: what a shell is offered, quickly, and that bash reads what is printed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from test_torch_free import SPARED

from kaiffin.cli.main import app, main


def offers(words: str, started: str) -> list[str]:
    found = ShellComplete(app, {}, "kaiffin", "X").get_completions(words.split(), started)
    return [one.value for one in found]


def test_commands_flags_and_settings() -> None:
    assert offers("", "gen") == ["generate"]
    assert offers("adapter", "res") == ["resize"]
    assert "--steps" in offers("train", "--st")
    assert offers("train", "--adapter.ra") == ["--adapter.rank"]
    assert not [one for one in offers("train", "--") if "." in one], "a page of two hundred"
    assert {"kohya", "peft"} <= set(offers("adapter convert a b --to", ""))
    assert offers("train photos --train.optimizer", "prod") == ["prodigy"]


def test_runs_and_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAIFFIN_HOME", str(tmp_path))
    for name in ("puffin", "plush"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").touch()
    assert offers("generate", "pu") == ["runs/puffin"]
    assert offers("resume", "runs/p") == ["runs/plush", "runs/puffin"]
    assert offers("train photos --base", "mini") == ["miniature", "miniature-xl"]
    assert "sd15" in offers("adapter verify x --base", "sd")


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    done = subprocess.run(
        ["bash", "-c", f"{capsys.readouterr().out}\ncomplete -p kaiffin"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "_kaiffin_completion" in done.stdout


def test_a_shell_waits_for_nothing_heavy() -> None:
    code = (
        "import sys, kaiffin.cli\n"
        "try: kaiffin.cli.main([])\n"
        "except SystemExit: pass\n"
        f"sys.exit(str(set({sorted(SPARED)}) & set(sys.modules) or ''))\n"
    )
    for words, number in (("kaiffin train --adapter.ra", "2"), ("kaiffin generate ", "2")):
        asked = {"_KAIFFIN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number}
        env = {**os.environ, **asked}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
        )
        assert not done.stderr.strip(), done.stderr
        assert ("--adapter.rank" in done.stdout) == ("adapter" in words)
