"""Adapter files on the terminal: every fact has its line, and strangers' text stays harmless."""

from pathlib import Path

import pytest

from kaiffin.adapters.files.edit import BlockCut
from kaiffin.cli.show import adapter as show
from kaiffin.stories.adapter import Converted, Extracted, Merged, Resized, Workflow
from kaiffin.stories.inspect import Inspection, Part

FILE = Path("it.safetensors")


def found(**changes: object) -> Inspection:
    part = Part("unet", 3, 192, (4, 8), (4.0,), 0.5)
    facts = {
        "path": FILE, "layout": "kohya", "family": "sd1", "kinds": {"lora": 3}, "weights": 12345,
        "trigger": "kaiffin", "towers": [part], "blocks": [part], "tokens": {"kaiffin": (2, 768)},
        "metadata": {"ss_tag": "a\x1b[31mred\nline", "long": "x" * 500}, "strays": [],
        "problems": [],
    }  # fmt: skip
    return Inspection(**(facts | changes))


def test_an_inspection_says_all_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    show.inspection(found())
    said = capsys.readouterr().out
    facts = (
        "kohya layout, sd1, 3 lora", "12,345 weights", "trigger: kaiffin", "4 to 8",
        "bundled token: kaiffin, 2 vectors of 768", "Every key has its home.",
    )  # fmt: skip
    for fact in facts:
        assert fact in said
    assert "\x1b" not in said
    assert max(map(len, said.splitlines())) < show.WIDTH + 10
    show.inspection(found(problems=["one key is strange"]))
    said = capsys.readouterr().out
    assert "problem: one key is strange" in said
    assert "has its home" not in said


def test_what_was_made_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    cuts = [BlockCut("unet.mid_block", 2, (4, 4), 0.0123)]
    for say, made, words in (
        (show.converted, Converted(FILE, 7, 0, "kohya", "peft"), "7 layers, kohya -> peft"),
        (show.converted, Converted(FILE, 1, 2, "kohya", "peft"), "1 layer and 2 tokens, kohya"),
        (show.merged, Merged(FILE, 7, (8,), ()), "7 layers of rank 8"),
        (show.resized, Resized(FILE, 4_000_000, 1_000_000, cuts), "4.0 MB -> 1.0 MB"),
        (show.extracted, Extracted(FILE, 5, 9, 2_000_000, cuts), "5 of 9 layers differ"),
    ):
        say(made)
        said = capsys.readouterr().out
        assert words in said
        assert str(FILE) in said
        assert ("1.23%" in said) == bool(getattr(made, "cuts", ()))


def test_a_workflow_names_what_comfyui_needs(capsys: pytest.CaptureFixture[str]) -> None:
    show.workflow(Workflow(Path("w.json"), {"loras/it.safetensors": FILE, "checkpoints/b": None}))
    said = capsys.readouterr().out
    assert "models/loras/it.safetensors (from it.safetensors)" in said
    assert "models/checkpoints/b (or choose yours" in said
