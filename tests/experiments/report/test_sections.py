"""What the page says of one run in words: what it is made of, what proves it, what it cost."""

from pathlib import Path

import pytest
from made_run import judge, made_run

from kaiffin.experiments.report.album import Album
from kaiffin.experiments.report.evidence import read
from kaiffin.experiments.report.sections import Section, duration, section
from kaiffin.foundation.run import Run


def told(run: Run) -> Section:
    return section(1, read(run), Album(run.path))


@pytest.mark.parametrize(
    ("seconds", "text"), [(44.6, "45 s"), (725, "12 min 5 s"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_all_that_is_needed_to_make_it_again(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    facts = dict(told(run).facts)
    assert facts["command"] == f"kaiffin train {run.config_path}"
    assert facts["trained"] == "120 steps, 1,234,567 weights"
    assert facts["proof"].startswith("holds: an independent reader attaches all 115 layers")
    assert facts["cost"] == "training 1 min 0 s, 0.50 s a step"
    assert facts["adapter"].startswith("kaiffin.safetensors\nSHA-256 ")
    judge(run)
    facts = dict(told(run).facts)
    assert facts["adapter"].startswith("best.safetensors\n")
    assert facts["cost"].endswith("; 40 pictures made and judged in 1 min 1 s")


def test_what_was_not_made_is_said(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    run.write_json("proof.json", {"holds": False, "problems": ["a layer is missing", "so is b"]})
    assert dict(told(run).facts)["proof"] == "a layer is missing; so is b"
    run.proof_path.unlink()
    run.adapter_path.unlink()
    facts = dict(told(run).facts)
    assert (facts["proof"], facts["adapter"]) == ("not made", "not there yet")


def test_the_smoothed_loss_at_the_end(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    one = told(run)
    assert one.end == pytest.approx(0.1 + 0.4 / 105, abs=3e-3)  # of the last twenty steps or so
    assert one.subject == "kaiffin bird"
    assert one.cards == []
    assert "token: kaiffin" in one.config
    run.metrics_path.write_text('{"step": 1, "loss": 0.5}\n')
    assert (told(run).curve, told(run).end) == (None, None)
