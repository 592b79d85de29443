"""Norms of updates against the updates written out in full."""

import numpy as np
import pytest
import torch
from made_adapters import varied
from torch import Tensor

from kaiffin.adapters.files import norms
from kaiffin.models.base import ModelFamily


def full(parts: dict[str, Tensor]) -> Tensor:
    """The update as a matrix, in fp64, the slow and obvious way."""
    up, down = (parts[f"lora_{side}.weight"].double().flatten(1) for side in ("up", "down"))
    return float(parts["alpha"]) / len(down) * up @ down


def test_norms_are_those_of_the_updates(family: ModelFamily) -> None:
    for parts in varied(family).modules.values():
        expected = pytest.approx(full(parts).norm().item(), rel=1e-9)
        plain = {part: value.numpy() for part, value in parts.items()}
        assert norms.norm(parts) == norms.norm(plain) == expected
        assert norms.num_weights(parts) == sum(
            value.numel() for part, value in parts.items() if part != "alpha"
        )


def test_norms_of_lycoris() -> None:
    rng = torch.Generator().manual_seed(0)
    w = {f"hada_w{i}_{s}": torch.randn(4, 4, generator=rng) for i in (1, 2) for s in "ab"}
    wide = (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
    parts = {**w, "alpha": torch.tensor(2.0)}
    assert norms.norm(parts) == pytest.approx(wide.norm().item() * 2 / 4, rel=1e-5)
    k = {"lokr_w1": torch.randn(2, 3, generator=rng), "lokr_w2": torch.randn(4, 5, generator=rng)}
    whole = torch.kron(k["lokr_w1"], k["lokr_w2"]).norm().item()
    assert norms.norm({**k, "alpha": torch.tensor(1.0)}) == pytest.approx(whole, rel=1e-5)


def test_a_turn_of_the_base_has_no_norm_of_its_own() -> None:
    assert np.isnan(norms.norm({"oft_blocks": np.zeros((2, 4, 4)), "alpha": np.zeros(())}))
