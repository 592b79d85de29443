"""Every optimizer learns, goes on exactly after a stop, and says what it needs."""

import sys
from pathlib import Path

import pytest
import torch
from results import Results
from test_trainer import trainer

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.presets import derive
from kaiffin.foundation.settings import build
from kaiffin.models.base import ModelFamily
from kaiffin.train.state import TrainState
from kaiffin.train.trainer import Trainer

NAMES = ["adamw", "adamw8bit", "adafactor", "lion", "prodigy", "schedulefree", "muon"]
RATES = {"lion": 2e-3, "prodigy": 1.0}


def made(family: ModelFamily, folder: Path, name: str, **more: object) -> Trainer:
    changes = {
        "train.optimizer": name, "train.lr": RATES.get(name, 1e-2), "train.steps": 15,
        "adapter.targets": "*.attn*.to_q,*.attn*.to_v", "adapter.rank": 8,
    }  # fmt: skip
    return trainer(family, folder, **(changes | more))


def weights(one: Trainer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in one.stack.parameters()]


def loss(one: Trainer) -> float:
    batch = one.inputs.batch(one.dataset.batch(0, 2))
    with torch.no_grad(), one.shown():
        return sum(one.losses([batch], number)[0].item() for number in range(100, 120)) / 20


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: str, sd: ModelFamily, folder: Path) -> None:
    one = made(sd, folder, name)
    before = loss(one)
    one.fit()
    assert loss(one) < before
    one.stack.eject()


@pytest.mark.parametrize("more", [{}, {"train.ema": 0.9}], ids=["", "ema"])
@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_to_the_bit(
    name: str, more: dict, sd: ModelFamily, folder: Path, tmp_path: Path
) -> None:
    """Stopped after 3 of 8 steps, written to disk, restored into a fresh trainer."""
    if name == "schedulefree" and more:
        pytest.skip("schedule-free averages by itself")
    through = made(sd, folder, name, **more)
    through.fit(until=3)
    for file, content in through.state().files().items():
        (tmp_path / file).write_bytes(content)
    through.fit(until=8)
    expected = weights(through)
    with through.shown():
        kept = weights(through)
    through.stack.eject()
    again = made(sd, folder, name, **more)
    again.restore(TrainState.read(tmp_path))
    again.fit(until=8)
    assert all(a.equal(b) for a, b in zip(weights(again), expected, strict=True))
    with again.shown():
        assert all(a.equal(b) for a, b in zip(weights(again), kept, strict=True))
    assert all(a.equal(b) for a, b in zip(weights(again), expected, strict=True))
    averages = bool(more) or name == "schedulefree"
    assert averages == any(not a.equal(b) for a, b in zip(kept, expected, strict=True))
    again.stack.eject()


def test_the_average_is_the_exponential_one(sd: ModelFamily, folder: Path) -> None:
    one = made(sd, folder, "adamw", **{"train.ema": 0.5})
    mean = weights(one)
    listener = Results()
    one.listeners = [listener]
    for step in range(1, 6):
        one.fit(until=step)
        share = 1 - min(0.5, step / (9 + step))
        mean = [m + (w - m) * share for m, w in zip(mean, weights(one), strict=True)]
    with one.shown():
        assert all(torch.allclose(a, b) for a, b in zip(weights(one), mean, strict=True))
    one.stack.eject()


@pytest.mark.parametrize(("name", "rate"), [("adamw", 1e-4), ("lion", 2e-5), ("prodigy", 1.0)])
def test_the_default_rate_follows_the_optimizer(name: str, rate: float) -> None:
    config, notes = derive(build({"train": {"optimizer": name}}), [6], 512)
    assert config.train.lr == pytest.approx(rate)
    assert any(note.startswith("train.lr = ") for note in notes)
    given, _ = derive(build({"train": {"optimizer": name, "lr": 0.5}}), [6], 512)
    assert given.train.lr == 0.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "schedulefree", "schedule": "cosine"}, "undoes schedulefree"),
        ({"optimizer": "schedulefree", "ema": 0.9}, "which averages"),
        ({"optimizer": "adam"}, "train.optimizer"),
        ({"ema": 1.0}, "train.ema"),
    ],
)
def test_impossible_combinations(changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build({"train": changes})


def test_muon_takes_no_convolutions(sd: ModelFamily, folder: Path) -> None:
    with pytest.raises(ConfigError, match="takes matrices only"):
        made(sd, folder, "muon", **{"adapter.targets": "all-linear+conv"})


@pytest.mark.parametrize(("name", "module"), [("lion", "pytorch_optimizer"),
                                              ("adamw8bit", "bitsandbytes")])  # fmt: skip
def test_a_missing_package_names_its_extra(
    name: str, module: str, sd: ModelFamily, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match="needs the extra"):
        made(sd, folder, name)
