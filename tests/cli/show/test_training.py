"""The end of a training on the terminal: proofs, the file, and what to do next."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_run import made_run

from kaiffin.adapters.elsewhere.proof import Proof
from kaiffin.cli.show.training import trained
from kaiffin.stories.plan import Planned
from kaiffin.stories.train import Trained
from kaiffin.train.plan import Plan


def test_what_became_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "run")
    proof = Proof({"unet": 3}, {"unet": 3}, 9, {"ComfyUI": 9}, False, 0.1, 1e-7, 1e-2)
    plan = Plan(1000, 3, 120, 60.0, 10**8, 10**9, 0, 1, torch.device("cpu"))
    planned = Planned(run.config, plan, (), 1.0, 10**9)
    made = Trained(run, 120, 12.4, planned, {"": proof}, candidates=3)
    trained(made)
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(proof.sentences)] == proof.sentences
    assert f"trained in 12 s: {run.adapter_path}" in lines
    assert f"which of its 3 candidates is best: `kaiffin choose {run.path}`" in lines
    trained(replace(made, candidates=1))
    assert "kaiffin choose" not in capsys.readouterr().out
    trained(Trained(run, 120, 0.1))
    assert capsys.readouterr().out == f"{run.path} is finished: {run.adapter_path}\n"
