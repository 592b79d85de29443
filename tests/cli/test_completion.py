"""Completion: what a shell is offered, quickly, and that bash, zsh and fish complete with it."""

import os
import pty
import select
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
    assert offers("train", "--adapter.ra") == ["--adapter.rank", "--adapter.rank_power"]
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


@pytest.fixture
def shell_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """A folder with what is printed for zsh and fish, where `kaiffin` is on the path."""
    for shell in ("zsh", "fish"):
        assert main(["completion", shell]) == 0
        (tmp_path / shell).write_text(capsys.readouterr().out)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return tmp_path


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes(shell_home: Path) -> None:
    asked = "source ./fish; complete -C 'kaiffin adapter resi'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("resize\t")


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_completes(shell_home: Path) -> None:
    """At a terminal, since it completes nowhere else."""
    terminal, end = pty.openpty()
    zsh = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=end, stdout=end, stderr=end, start_new_session=True
    )
    try:
        os.write(terminal, b"PS1='rea''dy'; autoload -Uz compinit; compinit -u -D; . ./zsh\n")
        assert until(terminal, b"ready")
        os.write(terminal, b"kaiffin adapter resi\t")
        assert until(terminal, b"resize")
    finally:
        zsh.kill()
        zsh.wait()
        os.close(terminal)
        os.close(end)


def until(terminal: int, wanted: bytes) -> bool:
    """Reads until that is there; False where nothing comes any more."""
    seen = b""
    while wanted not in seen and select.select([terminal], [], [], 120)[0]:
        seen += os.read(terminal, 4096)
    return wanted in seen


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
