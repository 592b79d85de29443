"""What a build has on disk: networks by seed, averages, and latents that are made once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kaiffin.foundation.errors import UserError
from kaiffin.miniature.build import nets, twin, workshop
from kaiffin.miniature.build.export import export
from kaiffin.miniature.build.marathon import Flat
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.world import world

SMALL = {"vae_channels": (8, 8, 8, 8), "unet_channels": (32, 32), "device": "cpu", "workers": 1}


def config(out: Path, **more: object) -> BuildConfig:
    return BuildConfig(out=out, **{**SMALL, **more})


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildConfig:
    """A build with a pool of 48 pictures, whose work is done in this process."""
    found = config(tmp_path, pictures=48)
    specs = [world.training_spec(found.seed, index) for index in range(48)]
    np.save(found.pool, np.stack([np.asarray(world.render(spec, nets.SIZE)) for spec in specs]))
    monkeypatch.setattr(workshop, "_in_parts", lambda part, c, count: part(c, 0, count))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return found


def test_a_network_begins_as_its_seed_says(tmp_path: Path) -> None:
    networks = [workshop.new_network(config(tmp_path, seed=seed), "vae") for seed in (1, 1, 2)]
    one, again, other = (network.encoder.conv_in.weight for network in networks)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_trained_network_is_its_average(tmp_path: Path) -> None:
    build = config(tmp_path)
    network = workshop.new_network(build, "unet")
    flat = Flat(network)
    flat.ema.mul_(0.5)
    build.checkpoint("unet").parent.mkdir()
    save_file(flat.tensors(), build.checkpoint("unet"))
    found = workshop.trained(build, "unet")
    assert torch.equal(found.conv_in.weight, network.conv_in.weight * 0.5)
    assert not any(weight.requires_grad for weight in found.parameters())
    assert not found.training


def test_latents_are_whitened_and_made_once(made: BuildConfig) -> None:
    workshop.encode(made)
    latents = np.load(made.latents)
    assert (latents.shape, latents.dtype) == ((48, 16, 8, 8), np.float16)
    flat = np.moveaxis(latents.astype(np.float64), 1, -1).reshape(-1, 16)
    assert np.abs(flat.mean(0)).max() < 0.01
    assert np.abs(np.cov(flat.T) - np.eye(16)).max() < 0.02
    assert made.whitened.is_file()
    before = made.latents.stat().st_mtime_ns
    workshop.encode(made)
    assert made.latents.stat().st_mtime_ns == before


def test_only_pictures_of_another_size_have_other_latents(made: BuildConfig) -> None:
    workshop.encode(made)
    workshop.encode_sized(made)
    plain, sized = np.load(made.latents), np.load(made.latents_sized)
    differ = [i for i in range(48) if not np.array_equal(plain[i], sized[i])]
    assert differ == [i for i in range(48) if twin.size_of(made.seed, i) != twin.whole()]
    assert len(differ) == 18


def test_a_miniature_learns_on_from_what_was_exported(made: BuildConfig) -> None:
    workshop.encode(made)
    parts = {stage: workshop.trained(made, stage) for stage in ("clip", "vae", "unet")}
    tower = workshop.text_tower(made)
    export(made.weights_folder, parts["clip"], tower, parts["vae"], parts["unet"])
    on = config(made.out / "on", pictures=48, begin=made.weights_folder)
    assert workshop.pool_side(on) == nets.SIZE
    for stage, was in parts.items():
        network = workshop.new_network(on, stage)
        assert all(weight.requires_grad for weight in network.parameters())
        for name, weight in was.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], weight.half().float())
    on.out.mkdir()
    np.save(on.pool, np.load(made.pool))
    workshop.encode(on)  # not whitened anew
    assert np.abs(np.load(on.latents) - np.load(made.latents)).max() < 0.05
    assert on.plan("unet").lr < made.plan("unet").lr


def test_what_to_begin_with_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no unet of a miniature to begin with"):
        workshop.new_network(config(tmp_path, begin=tmp_path / "nowhere"), "unet")


def test_the_second_tokenizer_differs_in_its_padding_alone(tmp_path: Path) -> None:
    build = config(tmp_path)
    first, second = (workshop.load_tokenizer(build, second=second) for second in (False, True))
    assert (first.pad_token, second.pad_token) == ("<|endoftext|>", "!")
    assert first("a red cat").input_ids == second("a red cat").input_ids
    assert sorted(path.name for path in (tmp_path / "tokenizer").iterdir()) == [
        "merges.txt", "tokenizer_config.json", "vocab.json"
    ]  # fmt: skip
