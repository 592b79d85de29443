"""Arithmetic on adapters against the updates written out in full, and against the real model."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_adapters import (
    output,
    varied,
)
from torch import Tensor

from kaiffin.adapters.files import edit, reading
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.ranks import RankSchedule
from kaiffin.adapters.stack import full_modules
from kaiffin.cli.main import main
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily


def full(parts: dict[str, Tensor]) -> Tensor:
    """The update as a matrix, in fp64, the slow and obvious way."""
    up, down = (parts[f"lora_{side}.weight"].double().flatten(1) for side in ("up", "down"))
    return float(parts["alpha"]) / len(down) * up @ down


def layer(rank: int, out: int, width: int, seed: int, alpha: float = 3.0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "lora_down.weight": torch.randn(rank, width, generator=rng),
        "lora_up.weight": torch.randn(out, rank, generator=rng),
        "alpha": torch.tensor(alpha),
    }


def adapter(**modules: dict[str, Tensor]) -> AdapterFile:
    return AdapterFile("kohya", "sd1", {f"unet.{n}": parts for n, parts in modules.items()})


def applied(family: ModelFamily, found: AdapterFile, scale: float) -> Lora:
    lora = Lora.from_state(found.state(), full_modules(family))
    lora.scale = scale
    lora.inject(full_modules(family))
    return lora


def test_a_merged_adapter_acts_as_both(family: ModelFamily) -> None:
    one, two = varied(family), varied(family)
    for parts in two.modules.values():
        parts["lora_up.weight"] = -0.5 * parts["lora_up.weight"].flip(0)
    two.modules = dict(list(two.modules.items())[::2])  # one may have layers the other lacks
    before = output(family)
    stack = [applied(family, one, 0.8), applied(family, two, 0.5)]
    both = output(family)
    for lora in stack:
        lora.eject()
    lora = applied(family, edit.merge([(one, 0.8), (two, 0.5)]), 1.0)
    assert torch.allclose(output(family), both, atol=1e-5)
    assert not torch.allclose(before, both, atol=1e-3)
    lora.eject()


@given(rank=st.integers(1, 6), keep=st.integers(1, 8), seed=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_resize_is_the_best_approximation(rank: int, keep: int, seed: int) -> None:
    parts = layer(rank, 9, 7, seed)
    made, cuts = edit.resize(adapter(x=parts), rank=keep, tell=SILENT)
    (found,), (cut,) = made.modules.values(), cuts.values()
    u, s, vt = torch.linalg.svd(full(parts), full_matrices=False)
    best = u[:, :keep] * s[:keep] @ vt[:keep]
    assert torch.allclose(full(found), best, atol=1e-5)
    error = ((full(parts) - best).norm() / full(parts).norm()).item()
    assert cut.error == pytest.approx(error, abs=1e-6)
    assert cut.rank == min(keep, rank)


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.999, 1.0])
def test_resize_by_energy_keeps_as_few_as_it_may(energy: float) -> None:
    parts = layer(8, 20, 16, 1)
    made, cuts = edit.resize(adapter(x=parts), energy=energy, tell=SILENT)
    (found,), (cut,) = made.modules.values(), cuts.values()
    squares = torch.linalg.svdvals(full(parts)).square()
    share = squares.cumsum(0) / squares.sum()
    assert share[cut.rank - 1] >= energy - 1e-9
    assert cut.rank == 1 or share[cut.rank - 2] < energy
    assert full(found).norm().square() >= (energy - 1e-5) * squares.sum()


def test_resize_keeps_the_shape_of_convolutions(sd: ModelFamily) -> None:
    modules = full_modules(sd)
    name = "unet.down_blocks.0.resnets.0.conv1"
    out, width = modules[name].weight.shape[:2]
    parts = {
        "lora_down.weight": torch.randn(4, width, 3, 3),
        "lora_up.weight": torch.randn(out, 4, 1, 1),
        "alpha": torch.tensor(2.0),
    }
    made, _ = edit.resize(AdapterFile("kohya", "sd1", {name: parts}), rank=4, tell=SILENT)
    assert torch.allclose(full(made.modules[name]), full(parts), atol=1e-4)
    Lora.from_state(made.state(), modules)  # fits


def by_block(a: AdapterFile, b: AdapterFile) -> dict[str, edit.Difference]:
    return {found.block: found for found in edit.difference(a, b)}


def test_difference() -> None:
    one = adapter(**{"mid_block.x": layer(2, 5, 4, 0), "up_blocks.1.x": layer(3, 5, 4, 1)})
    two = adapter(**{"mid_block.x": layer(4, 5, 4, 2)})
    found = by_block(one, two)
    a, b = full(one.modules["unet.mid_block.x"]), full(two.modules["unet.mid_block.x"])
    mid = found["unet.mid_block"]
    assert mid.a == pytest.approx(a.norm().item())
    assert mid.b == pytest.approx(b.norm().item())
    assert mid.cosine == pytest.approx(((a * b).sum() / a.norm() / b.norm()).item())
    assert mid.distance == pytest.approx(((a - b).norm() / a.norm()).item())
    assert found["unet.up_blocks.1"].distance == pytest.approx(1)
    itself = by_block(one, one)["unet.mid_block"]
    assert itself.distance == pytest.approx(0, abs=1e-6)
    assert by_block(two, one)["unet.up_blocks.1"].distance == math.inf


@pytest.mark.parametrize(("least", "power"), [(2, 1.0), (1, 2.0), (6, 1.0)])
def test_a_plain_file_is_the_nearest_to_ranks_that_depend_on_the_timestep(
    least: int, power: float
) -> None:
    """Against a solver that is given the update at every timestep, written out."""
    parts, times = layer(6, 5, 7, 1), 4000
    found = adapter(x=parts)
    found.modules["text_encoder.x"] = layer(2, 4, 4, 0)
    found.metadata = {"kept": "1", **RankSchedule(least, power).header()}

    def at(share: float) -> Tensor:
        cut = parts["lora_up.weight"].clone()
        cut[:, int((1 - share) ** power * (6 - least)) + least :] = 0
        return full({**parts, "lora_up.weight": cut}).flatten()

    every = torch.stack([at((time + 0.5) / times) for time in range(times)])
    best = torch.linalg.lstsq(torch.ones(times, 1).double(), every).solution.view(5, 7)
    made = edit.with_all_ranks(found)
    assert made.metadata == {"kept": "1"}
    assert torch.allclose(full(made.modules["unet.x"]), best, atol=2e-3)
    assert made.modules["unet.x"]["lora_up.weight"].shape == (5, 6)
    assert made.modules["text_encoder.x"] is found.modules["text_encoder.x"]
    if least < 6:
        assert not torch.allclose(best, full(parts), atol=0.1)
        worse = every - full(parts).flatten()
        assert (every - best.flatten()).square().sum() < worse.square().sum()
    with pytest.raises(AdapterError, match="all its ranks act at every timestep"):
        edit.with_all_ranks(made)


def test_what_depends_on_the_timestep_is_neither_added_up_nor_cut_down() -> None:
    found = adapter(x=layer(2, 4, 4, 0))
    found.metadata = RankSchedule(1).header()
    for refused in (
        lambda: edit.merge([(adapter(x=layer(2, 4, 4, 0)), 1.0), (found, 1.0)]),
        lambda: edit.resize(found, rank=1, tell=SILENT),
    ):
        with pytest.raises(AdapterError, match=r"ranks that depend on the timestep.* --plain"):
            refused()


def test_what_cannot_be_added_up_is_named() -> None:
    odd = adapter(x={**layer(2, 4, 4, 0), "dora_scale": torch.ones(4, 1)})
    with pytest.raises(AdapterError, match=r"unet\.x is dora"):
        edit.merge([(odd, 1.0)])
    with pytest.raises(AdapterError, match="different shapes"):
        edit.merge([(adapter(x=layer(2, 4, 4, 0)), 1.0), (adapter(x=layer(2, 4, 6, 0)), 1.0)])
    other = adapter(x=layer(2, 4, 4, 0))
    other.family = "sdxl"
    with pytest.raises(AdapterError, match="sdxl"):
        edit.merge([(adapter(x=layer(2, 4, 4, 0)), 1.0), (other, 1.0)])


def test_the_state_of_a_file_is_that_of_the_adapter(sd: ModelFamily) -> None:
    found = varied(sd)
    again = reading.from_state(found.state(), "sd1")
    assert again.modules.keys() == found.modules.keys()


def test_one_alpha_for_all_changes_nothing_else(family: ModelFamily) -> None:
    found = varied(family)
    made = edit.with_one_alpha(found)
    assert len({float(parts["alpha"]) for parts in made.modules.values()}) == 1
    for name, parts in found.modules.items():
        deltas = [full(p) for p in (parts, made.modules[name])]
        assert torch.allclose(*deltas, rtol=1e-5, atol=1e-7), name
    assert edit.with_one_alpha(made) is made


def test_rules_end_in_a_file_that_diffusers_reads(
    sd_path: Path, folder: Path, tmp_path: Path
) -> None:
    """Ranks and alphas that differ from block to block, trained until the difference would show."""
    run = tmp_path / "run"
    rules = '[{layers: "unet.mid_block.*", rank: 2, alpha: 16}, {layers: "unet.up*", alpha: 5}]'
    call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--steps", "6",
            "--out", str(run), "--adapter.rules", rules, "--train.lr", "1e-2",
            "--train.tensorboard", "false", "--data.prior.weight", "0"]  # fmt: skip
    assert main(call) == 0
    proof = json.loads((run / "proof.json").read_text())
    assert proof["holds"], proof["problems"]
    assert proof["effect"] > 0.1
    assert proof["difference"] < 1e-4
