"""What a step is fed with is the same whatever was kept, and is kept only while it stays true."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import Stack, full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.data.dataset import Dataset
from kaiffin.data.prepare import prepare
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.phases import expand
from kaiffin.foundation.presets import derive
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.models.base import ModelFamily
from kaiffin.train.inputs import Batch, Inputs


def inputs(
    family: ModelFamily, folder: Path, cache: TensorCache | None = None, **changes: object
) -> Inputs:
    given = {
        "data.photos": folder, "subject.noun": "thing", "train.steps": 4, "train.batch_size": 2,
        "data.prior.weight": 0.0, **changes,
    }  # fmt: skip
    config, _ = derive(build(override({}, given)), [4], 64)
    examples = prepare(config.data, config.subject, 64).examples
    dataset = Dataset(examples, [], config.data, config.train.seed)
    runtime = Runtime.from_config(config.base, config.train.precision)
    return Inputs(family, dataset, expand(config)[0], runtime, cache or TensorCache(None))


@pytest.fixture
def counted(sd: ModelFamily, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each tower was asked."""
    counts = {"encode_images": 0, "encode_text": 0}

    def counting(name: str, asked: Callable) -> Callable:
        def ask(*args: object) -> object:
            counts[name] += 1
            return asked(*args)

        return ask

    for name in counts:
        monkeypatch.setattr(sd, name, counting(name, getattr(sd, name)))
    return counts


def same(a: Batch, b: Batch) -> bool:
    return a.names == b.names and torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std)


def test_batches_by_number_are_the_same_whatever_was_kept(
    sd: ModelFamily, folder: Path, tmp_path: Path, counted: dict[str, int]
) -> None:
    fresh, kept = inputs(sd, folder), inputs(sd, folder, TensorCache(tmp_path / "cache"))
    for number in (3, 0, 1, 2):
        kept.batches(number)
    asked = counted["encode_images"]
    assert asked == 4, "each photo once"
    again = inputs(sd, folder, TensorCache(tmp_path / "cache"))  # only what is on the disk
    for number in range(4):
        (first,), (second,), (third,) = (one.batches(number) for one in (fresh, kept, again))
        assert len(first) == 2
        assert first.role == "instance"
        assert same(first, second)
        assert same(first, third)
    assert counted["encode_images"] == asked + 4, "the fresh one alone had to ask"


def test_variants_are_encoded_once(
    sdxl: ModelFamily, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one photo and its caption there are three crops and three orders, with the size facts that
    go with them, however long the training is."""
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    (folder / "0.txt").write_text("kaiffin, 1, 2, 3, 4, 5")
    changes = {"data.crops": "random", "data.upscale": True, "data.shuffle_tags": True}
    made = inputs(sdxl, folder, **changes, **{"data.variants": 3})
    asked = {"encode_images": 0, "encode_text": 0}
    for name in asked:
        plain = getattr(sdxl, name)

        def counting(*args: object, name: str = name, plain: Callable = plain) -> object:
            asked[name] += 1
            return plain(*args)

        monkeypatch.setattr(sdxl, name, counting)
    for number in range(20):
        (batch,) = made.batches(number)
        made.conditioning(batch)
    assert asked == {"encode_images": 3, "encode_text": 3}


def test_masks_come_in_the_size_of_the_latents(sd: ModelFamily, folder: Path) -> None:
    for path in folder.iterdir():
        image = Image.open(path).convert("RGBA")
        image.putalpha(0)
        image.paste((255, 0, 0, 255), (0, 0, 32, 64))  # the left half counts
        image.save(path)
    (batch,) = inputs(sd, folder, **{"data.masks": "alpha"}).batches(0)
    assert batch.mask is not None
    assert batch.mask.shape == (2, 1, *batch.mean.shape[-2:])
    left, right = batch.mask.chunk(2, dim=-1)
    assert left.min() == 1
    assert right.max() < left.min()
    (plain,) = inputs(sd, folder).batches(0)
    assert plain.mask is None


def test_texts_are_kept_only_while_their_towers_are_frozen(
    sd: ModelFamily, folder: Path, counted: dict[str, int]
) -> None:
    frozen = inputs(sd, folder)
    (batch,) = frozen.batches(0)
    told = [frozen.conditioning(batch) for _ in range(3)]
    assert counted["encode_text"] == 1, "one caption, once"
    assert all(torch.equal(value, told[0][name]) for name, value in told[2].items())
    learning = inputs(sd, folder, **{"adapter.text_encoder": True})
    for _ in range(3):
        learning.conditioning(batch)
    assert counted["encode_text"] == 4


def test_another_text_adapter_is_another_text(sd: ModelFamily, folder: Path) -> None:
    fed = inputs(sd, folder)
    (batch,) = fed.batches(0)
    before = fed.conditioning(batch)
    specs = {"text_encoder": LoraSpec("all-linear", 2, 2.0)}
    lora = Lora.create(specs, full_modules(sd), 0)
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))
    stack = Stack({"": lora})
    stack.inject(sd)
    fed.keep_texts_of(stack)
    after = fed.conditioning(batch)
    name = next(iter(before))
    assert not torch.equal(before[name], after[name])


def test_of_very_many_captions_only_the_last_are_remembered(
    sd: ModelFamily, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents stream from the disk, and what is held of either is bounded."""
    monkeypatch.setattr("kaiffin.train.inputs.TEXTS", 3)
    entry = 2 * 4 * 8 * 8 * 4  # mean and std of a photo
    made = inputs(sd, folder, TensorCache(tmp_path, memory=3 * entry))
    for number in range(8):
        (batch,) = made.batches(number)
        made.conditioning(batch)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 4  # the latents of four photos, no text
    assert made.cache._bytes <= 3 * entry
    assert len(made.cache._entries) < 4
