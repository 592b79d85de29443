"""What every family promises, asked of each alike: also of one that lives in tests only, whose
model, schedule and conditioning are of another kind than Stable Diffusion's."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import load_tiny
from lent import lent
from PIL import Image
from torch import nn

from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.foundation.runtime import generator
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts
from kaiffin.models.diffusion.samplers import SAMPLERS, denoiser
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files.facts import read_text_facts
from kaiffin.pictures.request import Request
from kaiffin.pictures.sample import generate
from kaiffin.stories.train import resume, train

FACTS = [SizeFacts((100, 80), (3, 4), (64, 64)), SizeFacts.whole(64, 64)]
PROMPTS = ["a photo of a dog", "ein Höhlenbär 犬 🐧"]


@pytest.fixture(params=["sd", "sd_v", "sdxl", "flow"])
def path(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"{request.param}_path")


@pytest.fixture
def family(path: Path) -> Iterator[ModelFamily]:
    yield from lent(path)


def told(family: ModelFamily) -> Conditioning:
    with torch.no_grad():
        return family.encode_text(PROMPTS, FACTS)


def test_it_is_as_its_row_says(family: ModelFamily) -> None:
    assert isinstance(family, ModelFamily)
    spec = SPECS[family.name]
    assert spec.name == family.name
    assert tuple(family.towers) == (spec.denoiser, *spec.text_towers) == tuple(spec.towers)
    assert family.denoiser == spec.denoiser


def test_it_is_frozen_and_has_its_sizes(family: ModelFamily, path: Path) -> None:
    for module in (*family.towers.values(), family.vae):
        assert not any(p.requires_grad for p in module.parameters())
        assert not module.training
    assert (family.native_size, family.downscale, family.latent_channels) == (64, 8, 4)
    assert load_tiny(path).revision == family.revision
    facts = read_text_facts(str(path), tell=SILENT)
    assert (facts.native_size, facts.max_tokens) == (family.native_size, family.max_tokens)
    assert facts.token_pieces(PROMPTS[1]) == family.token_pieces(PROMPTS[1])


def test_layers_have_canonical_names(family: ModelFamily) -> None:
    for tower in family.towers:
        modules = family.modules(tower)
        assert modules
        assert all(isinstance(m, (nn.Linear, nn.Conv2d)) for m in modules.values())
        if tower != family.denoiser:
            assert all(name.startswith("text_model.encoder.layers.") for name in modules)


def test_texts_are_encoded_one_by_one_and_block_by_block(family: ModelFamily) -> None:
    both = told(family)
    assert all(len(part) == 2 for part in both.values())
    with torch.no_grad():
        each = [family.encode_text([p], [f]) for p, f in zip(PROMPTS, FACTS, strict=True)]
        joined = Conditioning.cat(each)
        long = family.encode_text(["a" * 100], FACTS[:1], chunks=2)
    assert list(joined) == list(both)
    for name, part in joined.items():
        assert torch.allclose(part, both[name], atol=1e-5)
    assert (family.num_chunks(["a" * 100]), family.num_chunks(["a", ""])) == (2, 1)
    assert long["context"].shape[1] == 2 * both["context"].shape[1] == 154
    assert family.token_pieces("") == []
    assert len(family.token_pieces("kaiffin")) == 7


def test_pictures_there_and_back_have_their_sizes(family: ModelFamily) -> None:
    mean, std = family.encode_images(torch.rand(2, 3, 64, 48) * 2 - 1)
    assert mean.shape == std.shape == (2, 4, 8, 6)
    assert mean.dtype == std.dtype == torch.float32
    pixels = family.decode(mean)
    assert pixels.shape == (2, 3, 64, 48)
    assert pixels.abs().max() <= 1


def test_predictions_do_not_depend_on_the_batch(family: ModelFamily) -> None:
    x, cond = torch.randn(2, 4, 8, 8), told(family)
    times = [family.schedule.draw_time(generator(0, "t", i)) for i in range(2)]
    with torch.no_grad():
        both = family.predict(x, torch.stack(times), cond)
        for i, t in enumerate(times):
            one = family.predict(x[i : i + 1], t[None], cond.map(lambda part, i=i: part[i : i + 1]))
            assert torch.allclose(one[0], both[i], atol=1e-5)
    assert both.shape == x.shape
    assert both.dtype == torch.float32


def test_gradients_flow_through_texts_and_latents(family: ModelFamily) -> None:
    x = torch.randn(2, 4, 8, 8, requires_grad=True)
    layer = next(iter(family.modules("text_encoder").values()))
    layer.weight.requires_grad_(True)
    t = family.schedule.middle().expand(2)
    family.predict(x, t, family.encode_text(PROMPTS, FACTS)).square().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


def test_checkpointed_gradients_are_the_same(family: ModelFamily) -> None:
    x, cond, t = torch.randn(2, 4, 8, 8), told(family), family.schedule.middle().expand(2)
    found = []
    for on in (False, True):
        if on:
            family.enable_gradient_checkpointing()
        given = x.clone().requires_grad_(True)
        family.predict(given, t, cond).square().mean().backward()
        found.append(given.grad)
    family.disable_gradient_checkpointing()
    assert torch.allclose(*found, atol=1e-6)
    assert not family.towers[family.denoiser].training


# --- the schedule -------------------------------------------------------------------------------


def times(family: ModelFamily) -> Iterator[torch.Tensor]:
    yield family.schedule.middle()
    for i in range(6):
        yield family.schedule.draw_time(generator(0, "t", i))


def sigma_of(family: ModelFamily, t: torch.Tensor) -> float:
    """Noise over signal at a time, as training mixes them."""
    one, none = torch.ones(1, 1, 1, 1).double(), torch.zeros(1, 1, 1, 1).double()
    signal = family.schedule.add_noise(one, none, t[None])
    return (family.schedule.add_noise(none, one, t[None]) / signal).item()


def test_training_and_sampling_see_the_same_noise(family: ModelFamily) -> None:
    schedule = family.schedule
    x0, eps = torch.randn(1, 4, 8, 8).double(), torch.randn(1, 4, 8, 8).double()
    for t in times(family):
        sigma = sigma_of(family, t)
        x = x0 + sigma * eps
        x_t, asked = schedule.model_input(x, sigma)
        assert asked == pytest.approx(t.item(), rel=1e-4, abs=1e-3)
        assert torch.allclose(x_t, schedule.add_noise(x0, eps, t[None]), atol=1e-6)
        target = schedule.target(x0, eps, t[None])
        assert torch.allclose(schedule.to_x0(target, x, sigma), x0, atol=1e-6)


def test_the_weight_is_min_snr_on_the_x0_loss(family: ModelFamily) -> None:
    """Whatever is predicted: weight * |target error|^2 = min(SNR, gamma) * |x0 error|^2."""
    schedule = family.schedule
    x = torch.zeros(1, 1, 1, 1).double()
    for t in times(family):
        sigma = sigma_of(family, t)
        error = schedule.to_x0(x + 1, x, sigma) - schedule.to_x0(x, x, sigma)
        wanted = min(sigma**-2, 5.0) * error.square().item()
        assert schedule.weight(t[None], 5.0).item() == pytest.approx(wanted, rel=1e-3)


def test_sigmas_fall_to_zero_and_begin_in_noise(family: ModelFamily) -> None:
    sigmas = family.schedule.sigmas(10)
    assert len(sigmas) == 11
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] == 0
    eps = torch.randn(1, 4, 64, 64)
    x_t, _ = family.schedule.model_input(family.schedule.first_noise(eps, sigmas[0]), sigmas[0])
    assert torch.allclose(x_t, eps, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_finds_a_point_that_a_perfect_model_knows(
    family: ModelFamily, sampler: str
) -> None:
    """Data of one single point: the model's answer follows from x_t, and sampling ends there."""
    schedule, point = family.schedule, torch.randn(1, 4, 8, 8).double()

    def predict(x_t: torch.Tensor, t: float) -> torch.Tensor:
        time = torch.tensor([t]).long() if t == int(t) else torch.tensor([t]).double()
        rest = x_t - schedule.add_noise(point, torch.zeros_like(point), time)
        scale = schedule.add_noise(torch.zeros_like(point), torch.ones_like(point), time)
        return schedule.target(point, rest / scale, time)

    sigmas = schedule.sigmas(8)
    noise = [torch.randn(1, 4, 8, 8, generator=generator(0, i)).double() for i in range(9)]
    start = schedule.first_noise(noise[8], sigmas[0])
    found = SAMPLERS[sampler](denoiser(predict, schedule), start, sigmas, lambda i: noise[i])
    assert torch.allclose(found, point, atol=1e-4)


# --- the real path ------------------------------------------------------------------------------


def test_an_adapter_goes_on_and_comes_off(family: ModelFamily) -> None:
    x, cond, t = torch.randn(2, 4, 8, 8), told(family), family.schedule.middle().expand(2)
    modules = full_modules(family)
    adapter = Lora.create({family.denoiser: LoraSpec("attention", 2, 2.0)}, modules, 0)
    for layer in adapter.layers.values():
        nn.init.ones_(layer.up)
    with torch.no_grad():
        before = family.predict(x, t, cond)
        adapter.inject(modules)
        changed = family.predict(x, t, cond)
        adapter.eject()
        after = family.predict(x, t, cond)
    assert not torch.allclose(before, changed, atol=1e-4)
    assert torch.equal(before, after)


def test_pictures_are_functions_of_prompt_and_seed(family: ModelFamily) -> None:
    asked = [Request("a dog", seed, 64, 64, steps=3) for seed in (1, 2)]
    first, second = (list(generate(family, asked)) for _ in range(2))
    assert [i.tobytes() for i in first] == [i.tobytes() for i in second]
    assert first[0].tobytes() != first[1].tobytes()
    (wide,) = generate(family, [Request("a dog", 1, 96, 48, steps=2)])
    assert wide.size == (96, 48)


class Stopped(Exception):
    pass


def test_it_trains_resumes_to_the_same_bytes_and_generates(
    path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `kaiffin train` and `kaiffin resume` do it, killed in between or not."""
    given = {
        "base.name": str(path), "base.device": "cpu", "data.photos": folder, "subject.noun": "dog",
        "train.steps": 2, "train.batch_size": 2, "train.lr": 1e-2, "train.checkpoint_every": 1,
        "train.tensorboard": False, "train.objective.min_snr_gamma": 5, "adapter.rank": 2,
        "adapter.targets": "attention", "adapter.text_encoder": True, "data.prior.weight": 0.0,
    }  # fmt: skip
    config = build(override({}, given))
    whole = train(config, tmp_path / "whole")

    def dies(trainer: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr("kaiffin.train.trainer.Trainer.settle", dies)
        with pytest.raises(Stopped):
            train(config, tmp_path / "killed")
    for checkpoint in sorted((tmp_path / "killed" / "checkpoints").iterdir())[1:]:
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    again = resume(tmp_path / "killed")
    files = [getattr(run, "run", run).adapter_path for run in (whole, again)]
    first, second = (hashlib.sha256(_tensors(file)).hexdigest() for file in files)
    assert first == second

    from kaiffin.pictures.make import Task, WeightedAdapter, make

    family = load_tiny(path)
    asked = Request("a photo of <kaiffin>", 1, 64, 64, steps=3)
    (_, bare), (_, taught) = make(family, [Task(asked), Task(asked, (WeightedAdapter(files[0]),))])
    assert isinstance(taught, Image.Image)
    assert bare.tobytes() != taught.tobytes()


def _tensors(file: Path) -> bytes:
    """What the file holds after its header, in the header's order."""
    data = file.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]
