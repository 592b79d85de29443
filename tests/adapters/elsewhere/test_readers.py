"""What others' code attaches of our files: diffusers, PEFT and LyCORIS."""

from pathlib import Path

import pytest
import torch
from made_adapters import (
    moved,
    predict,
    saved,
)

from kaiffin.adapters.elsewhere.proof import NoReader, prove
from kaiffin.adapters.elsewhere.readers import opened_by_others
from kaiffin.models.base import ModelFamily

KINDS = ["rslora", "dora", "loha", "lokr", "oft"]


@pytest.mark.parametrize("kind", KINDS)
def test_others_read_the_same_numbers(kind: str, family: ModelFamily, tmp_path: Path) -> None:
    """diffusers opens rsLoRA, LyCORIS the others; each with its own code."""
    targets = "all-linear" if kind == "rslora" else "all-linear+conv"
    path = saved(moved(family, kind, targets), family, tmp_path / "a.safetensors")
    before = predict(family)
    proof = prove(path, family, opened_by_others)
    assert proof.holds, proof.problems
    assert proof.effect > 0.05
    assert proof.difference < 1e-5
    assert torch.equal(predict(family), before)


def test_without_lycoris_the_proof_says_what_it_needs(
    sd: ModelFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    path = saved(moved(sd, "loha"), sd, tmp_path / "a.safetensors")
    monkeypatch.setitem(sys.modules, "lycoris.modules", None)
    with pytest.raises(NoReader, match="not installed"):
        prove(path, sd, opened_by_others)
