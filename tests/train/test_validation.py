"""The loss on held-out photos: the same noises each time, nothing of the training touched."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from results import Results

from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.cli.main import main
from kaiffin.data.dataset import Dataset
from kaiffin.data.prepare import prepare
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.phases import expand
from kaiffin.foundation.presets import derive
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.models.base import ModelFamily
from kaiffin.train.trainer import Trainer
from kaiffin.train.validation import NOISES, ROLE, Validation


def trained(family: ModelFamily, folder: Path, **changes: object) -> tuple[Trainer, Results]:
    """A training of 5 steps with one of the photos held out."""
    given = {
        "data.photos": folder, "subject.noun": "thing", "train.steps": 5, "train.batch_size": 3,
        "adapter.rank": 2, "data.prior.weight": 0.0, "train.lr": 1e-2, "data.hold_out": 1,
        "adapter.dropout": 0.2, "adapter.targets": "attention", **changes,
    }  # fmt: skip
    config, _ = derive(build(override({}, given)), [3], 64)
    prepared = prepare(config.data, config.subject, 64)
    dataset = Dataset(prepared.examples, [], config.data, 0)
    specs = {"unet": LoraSpec("attention", 2, 2.0, dropout=0.2)}
    stack = Stack({"": Lora.create(specs, full_modules(family), 0)})
    stack.inject(family)
    runtime = Runtime.from_config(config.base, config.train.precision)
    seen = Results()
    made = Trainer(family, stack, dataset, expand(config)[0], runtime, TensorCache(None))
    made.listeners = [seen]
    if config.train.validate_every:
        made.validation = Validation(made, prepared.held_out)
    made.fit()
    return made, seen


def test_it_is_asked_now_and_then_and_changes_nothing(sd: ModelFamily, folder: Path) -> None:
    silent, unasked = trained(sd, folder)
    silent.stack.eject()
    made, seen = trained(sd, folder, **{"train.validate_every": 2})
    asked = {one.step: one.validated for one in seen.results if one.validated}
    assert list(asked) == [2, 4, 5]
    plain = [replace(one, validated=None, seconds=0.0) for one in seen.results]
    assert plain == [replace(one, seconds=0.0) for one in unasked.results]
    assert made.state().files() == silent.state().files()
    assert len({one.base for one in asked.values()}) == 1, "the base does not move"
    assert len({one.loss for one in asked.values()}) == 3
    assert made.validation
    assert made.validation() == asked[5], "the same noises each time"


def test_without_the_adapter_it_is_the_bases_own(sd: ModelFamily, folder: Path) -> None:
    made, seen = trained(sd, folder, **{"train.validate_every": 5})
    made.stack.eject()
    validation = made.validation
    assert isinstance(validation, Validation)
    batch = made.inputs.batch(validation.draws * 3, ROLE)
    with torch.no_grad():
        found = [made.losses([batch], k)[0].item() for k in range(-(-NOISES // 3))]
    last = seen.results[-1].validated
    assert last
    assert last.base == pytest.approx(sum(found) / len(found))
    assert last.loss != pytest.approx(last.base, rel=1e-4)


def test_one_photo_cannot_be_held_out(
    folder: Path, sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    call = ["train", str(folder), "--base", str(sd_path), "--out", str(tmp_path / "run")]
    assert main([*call, "--data.hold_out", "1", "--train.validate_every", "5"]) == 2
    said = capsys.readouterr().err
    assert "data.hold_out 1 of 1 photo: none is left to learn from" in said
    assert main([*call, "--train.validate_every", "5"]) == 2
    assert "needs photos that nobody learns: data.hold_out" in capsys.readouterr().err
