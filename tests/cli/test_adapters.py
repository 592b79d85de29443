"""How the commands for adapter files end, and what a merge takes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kaiffin.cli.main import main
from kaiffin.cli.show import adapter as show
from kaiffin.stories import adapter, inspect


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["a key has no home"], 1)])
def test_inspect_ends_with_1_where_the_file_would_not_load(
    problems: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = SimpleNamespace(problems=problems)
    monkeypatch.setattr(inspect, "inspect", lambda *_, **__: answer)
    monkeypatch.setattr(show, "inspection", lambda found: None)
    assert main(["adapter", "inspect", "a.safetensors"]) == code


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_verify_ends_with_1_where_the_proof_fails(
    holds: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "verify", lambda *_, **__: SimpleNamespace(holds=holds))
    monkeypatch.setattr(show, "proof", lambda made: None)
    assert main(["adapter", "verify", "a.safetensors", "--base", "miniature"]) == code


def test_a_merge_takes_one_number_for_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[Any] = []
    for name in ("merge", "merge_into"):
        monkeypatch.setattr(adapter, name, lambda *words, **_: found.append(words))
    for name in ("merged", "merged_base"):
        monkeypatch.setattr(show, name, lambda made: None)
    files = ["adapter", "merge", "a.safetensors:0.8", "b.safetensors"]
    assert main([*files, "--out", "c.safetensors", "--rank", "4"]) == 0
    specs = [(Path("a.safetensors"), 0.8), (Path("b.safetensors"), 1.0)]
    assert found.pop() == (specs, Path("c.safetensors"), 4, None)
    assert main([*files, "--out", "folder", "--into", "sd15"]) == 0
    assert found.pop() == ("sd15", specs, Path("folder"))
    assert main([*files, "--out", "folder", "--into", "sd15", "--rank", "4"]) == 2
    assert "no effect with --into" in capsys.readouterr().err
    assert main(["adapter", "merge", "a.safetensors:1..0.3", "--out", "c.safetensors"]) == 2
    assert "a merge takes one number for each" in capsys.readouterr().err
    assert not found
