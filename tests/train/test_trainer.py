"""The loop on a tiny base: it learns, it draws purely, and its parts are what they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from results import Results

from kaiffin.adapters.lora import Lora
from kaiffin.adapters.ranks import ranks_of
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.data.dataset import Dataset
from kaiffin.data.prepare import prepare
from kaiffin.foundation import config as configs
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import DivergedError
from kaiffin.foundation.phases import expand
from kaiffin.foundation.presets import derive
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.models.base import ModelFamily
from kaiffin.models.diffusion.loss import min_snr_weight
from kaiffin.train.state import TrainState
from kaiffin.train.trainer import Trainer, passes, rate_factor


def trainer(
    family: ModelFamily, folder: Path, cache: TensorCache | None = None, **changes: object
) -> Trainer:
    given = {
        "data.photos": folder, "subject.noun": "thing", "train.steps": 12, "train.batch_size": 2,
        "adapter.rank": 4, "data.prior.weight": 0.0, "train.lr": 1e-2, "adapter.targets":
        "all-linear", **changes,
    }  # fmt: skip
    config, _ = derive(build(override({}, given)), [4], 64)
    prepared = prepare(config.data, config.subject, 64)
    dataset = Dataset(prepared.examples, [], config.data, config.train.seed)
    a = config.adapter
    specs = {"unet": LoraSpec(a.targets or "", 4, 4.0, a.dropout, a.kind, a.rules)}
    if config.adapter.text_encoder:
        specs["text_encoder"] = LoraSpec("all-linear", 4, 4.0)
    stack = Stack({"": Lora.create(specs, full_modules(family), config.train.seed)})
    stack.adapters[""].ranks = ranks_of(a)
    stack.inject(family)
    runtime = Runtime.from_config(config.base, config.train.precision)
    made = Trainer(family, stack, dataset, expand(config)[0], runtime, cache or TensorCache(None))
    made.listeners = [Results()]
    return made


def losses(made: Trainer) -> list[float]:
    return [result.loss for result in made.listeners[0].results]


def test_it_learns(sd: ModelFamily, folder: Path) -> None:
    made = trainer(sd, folder, **{"train.steps": 40, "train.schedule": "constant"})
    made.fit()
    values = losses(made)
    # Each batch is new noise: compare the same draws with and without what was learnt.
    batch = made.inputs.batch(made.dataset.batch(0, 2))
    with torch.no_grad():
        after = np.mean([made.losses([batch], number)[0].item() for number in range(100, 120)])
        made.stack.eject()
        before = np.mean([made.losses([batch], number)[0].item() for number in range(100, 120)])
    assert len(values) == 40
    assert after < 0.9 * before


def test_the_frozen_base_stays_frozen(sd: ModelFamily, folder: Path) -> None:
    before = {k: v.clone() for k, v in sd.towers["unet"].state_dict().items()}
    trainer(sd, folder).fit()
    after = sd.towers["unet"].state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_stop_and_go_on_is_exact(sd: ModelFamily, folder: Path, tmp_path: Path) -> None:
    changes = {"adapter.dropout": 0.3, "data.flip": True, "data.caption_dropout": 0.2}
    changes |= {"adapter.min_rank": 1, "adapter.rank_power": 0.5}
    whole = trainer(sd, folder, **changes)
    whole.fit()
    whole.stack.eject()
    first = trainer(sd, folder, **changes)
    first.fit(until=5)
    files = first.state().files()
    first.stack.eject()
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name, data in files.items():
        (checkpoint / name).write_bytes(data)
    second = trainer(sd, folder, **changes)
    second.restore(TrainState.read(checkpoint))
    second.fit()
    assert losses(first) + losses(second) == losses(whole)
    assert second.state().files() == whole.state().files()
    second.stack.eject()


def test_with_as_many_ranks_as_there_are_a_training_is_plain(sd: ModelFamily, folder: Path) -> None:
    states = []
    for least in (None, 4, 1):
        made = trainer(sd, folder, **{"train.steps": 3, "adapter.min_rank": least})
        made.fit()
        made.stack.eject()
        states.append(made.state().files())
    assert states[0] == states[1] != states[2]


def test_where_there_is_noise_the_further_ranks_learn_nothing(
    sd: ModelFamily, folder: Path
) -> None:
    """Timesteps differ within the batch; what is computed again in the backward pass agrees."""
    grads = []
    for checkpointing in (False, True):
        more = {"adapter.min_rank": 1, "train.gradient_checkpointing": checkpointing}
        made = trainer(sd, folder, **more)
        layers = made.stack.adapters[""].layers
        with torch.no_grad():
            for layer in layers.values():
                layer.up.fill_(0.01)
        batch = made.inputs.batch(made.dataset.batch(0, 2))
        number = next(n for n in range(99) if 300 < made._noised(batch, n).t.min() < 500)
        sd.enable_gradient_checkpointing() if checkpointing else sd.disable_gradient_checkpointing()
        made.losses([batch], number)[0].backward()
        count = 1 + int((1000 - made._noised(batch, number).t.min().item()) / 1000 * 3)
        found = torch.stack([layer.up.grad.flatten(1).abs().sum(0) for layer in layers.values()])
        assert count == 2
        assert found[:, :count].all()
        assert not found[:, count:].any()
        grads.append(found)
        made.stack.eject()
    sd.disable_gradient_checkpointing()
    assert torch.allclose(grads[0], grads[1], rtol=1e-4)


def test_what_goes_together_is_of_one_size(sd: ModelFamily, folder: Path) -> None:
    """What is computed again in a backward pass has the timesteps of its own forward pass."""
    made = trainer(sd, folder)
    one = made.inputs.batch(made.dataset.batch(0, 2))
    wide = replace(one, role="prior", mean=one.mean[..., :4], std=one.std[..., :4])
    alike = replace(one, role="prior")
    held = replace(one, role="keep")
    assert passes([one, alike, held]) == [[one, alike], [held]]
    assert passes([one, wide]) == [[one], [wide]]
    made.stack.eject()


def test_accumulation_equals_a_larger_batch(sd: ModelFamily, folder: Path) -> None:
    """Same draws, same mean, whatever the split; SGD-like closeness of the first update."""
    large = trainer(sd, folder, **{"train.batch_size": 4, "train.steps": 2})
    large.fit()
    large.stack.eject()
    split = trainer(sd, folder, **{"train.batch_size": 2, "train.accumulate": 2, "train.steps": 2})
    split.fit()
    split.stack.eject()
    assert losses(split) == pytest.approx(losses(large), rel=1e-4)


def test_caching_changes_nothing(sd: ModelFamily, folder: Path, tmp_path: Path) -> None:
    bare = trainer(sd, folder)
    bare.inputs.cache.get = lambda key, compute: {k: v.cpu() for k, v in compute().items()}
    bare.fit()
    bare.stack.eject()
    first = trainer(sd, folder, TensorCache(tmp_path / "cache"))
    first.fit()
    first.stack.eject()
    from_disk = trainer(sd, folder, TensorCache(tmp_path / "cache", memory=1))
    from_disk.fit()
    from_disk.stack.eject()
    assert losses(first) == losses(bare) == losses(from_disk)


def test_the_cache_is_keyed_by_content(sd: ModelFamily, folder: Path, tmp_path: Path) -> None:
    """A photo replaced under its old name, with its old time stamp, is not trained on."""
    import os

    cache = TensorCache(tmp_path / "cache")
    made = trainer(sd, folder, cache)
    made.stack.eject()
    example = made.dataset.instance[0]
    old = made.inputs.latents(made.dataset.batch(0, 4)[0])["mean"].clone()
    stat = example.path.stat()
    Image.new("RGB", (64, 64), "red").save(example.path)
    os.utime(example.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = trainer(sd, folder, cache)
    again.stack.eject()
    draws = {d.example.name: d for d in again.dataset.batch(0, 4)}
    assert not torch.equal(again.inputs.latents(draws[example.name])["mean"], old)


def test_the_text_encoder_trains(sd: ModelFamily, folder: Path) -> None:
    made = trainer(sd, folder, **{"adapter.text_encoder": True, "train.text_lr": 1e-2})
    start = [p.clone() for p in made.stack.adapters[""].parameters("text_encoder")]
    made.fit()
    moved = [
        not torch.equal(a, b)
        for a, b in zip(start, made.stack.adapters[""].parameters("text_encoder"), strict=True)
    ]
    assert any(moved)
    assert len(made.optimizer.param_groups) == 2


def test_gradient_checkpointing_changes_no_gradient(sd_path: Path, folder: Path) -> None:
    from conftest import load_tiny

    gradients = []
    for on in (False, True):
        made = trainer(load_tiny(sd_path), folder, **{"train.gradient_checkpointing": on})
        made.losses([made.inputs.batch(made.dataset.batch(0, 2))], 0)[0].backward()
        gradients.append([p.grad for p in made.stack.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for plain, saved in zip(*gradients, strict=True):
        assert torch.allclose(plain, saved, atol=1e-6)


def test_min_snr_weighs_by_timestep(sd: ModelFamily, folder: Path) -> None:
    plain = trainer(sd, folder)
    batch = plain.inputs.batch(plain.dataset.batch(0, 1))
    with torch.no_grad():
        value = plain.losses([batch], 3)[0].item()
        t = plain._noised(batch, 3).t
    plain.stack.eject()
    weighted = trainer(sd, folder, **{"train.objective.min_snr_gamma": "5"})
    with torch.no_grad():
        got = weighted.losses([batch], 3)[0].item()
    factor = min_snr_weight(sd.schedule.snr(t), 5.0, "epsilon").item()
    assert got == pytest.approx(value * factor, rel=1e-5)


def test_masks_limit_the_loss(sd: ModelFamily, folder: Path) -> None:
    (folder / "masks").mkdir()
    for path in folder.glob("*.png"):
        mask = Image.new("L", (64, 64), 0)
        mask.paste(255, (0, 0, 32, 64))
        mask.save(folder / "masks" / path.name)
    made = trainer(sd, folder, **{"data.masks": "folder"})
    batch = made.inputs.batch(made.dataset.batch(0, 2))
    assert batch.mask is not None
    assert batch.mask.shape == (2, 1, 8, 8)
    assert batch.mask[..., :4].eq(1).all()
    assert batch.mask[..., 4:].eq(0).all()


def test_a_loss_that_is_not_finite_names_photo_and_timestep(sd: ModelFamily, folder: Path) -> None:
    made = trainer(sd, folder)
    whole = made.inputs.latents

    def poisoned(draw):
        entry = whole(draw)
        bad = draw.example.name == "2.png"
        return {**entry, "mean": entry["mean"] * float("nan")} if bad else entry

    made.inputs.latents = poisoned
    with pytest.raises(DivergedError, match=r"2\.png at timestep \d+"):
        made.fit()
    assert all(torch.isfinite(p).all() for p in made.stack.parameters())


def test_rates() -> None:
    def at(step: int, **train: object) -> float:
        return rate_factor(Config(train=configs.TrainConfig(steps=100, **train)), step)

    assert at(0) == 1.0
    assert at(50) == pytest.approx(0.5)
    assert at(99) < 0.001
    assert at(50, schedule="linear") == pytest.approx(0.5)
    assert at(75, schedule="linear") == pytest.approx(0.25)
    assert at(99, schedule="constant") == 1.0
    assert at(4, warmup=10) == pytest.approx(0.5)
    assert at(10, warmup=10) == 1.0
