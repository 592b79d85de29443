"""The settings of a build: where files go, who trains, and what each network is trained by."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from kaiffin.miniature.build.recipe import BuildConfig


def test_all_that_a_build_makes_lies_in_its_folder() -> None:
    config = BuildConfig(out=Path("here"))
    made = [config.pool, config.latents, config.latents_sized, config.whitened, config.judge,
            config.large_pool,
            config.checkpoint("unet"), config.done("unet"), config.weights_folder,
            config.twin_folder]  # fmt: skip
    assert all(path.is_relative_to("here") for path in made)
    assert len(set(made)) == len(made)
    assert config.docs_folder == Path("here")
    elsewhere = BuildConfig(weights=Path("a"), weights_xl=Path("b"), docs=Path("c"))
    places = elsewhere.weights_folder, elsewhere.twin_folder, elsewhere.docs_folder
    assert places == (Path("a"), Path("b"), Path("c"))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="picturs"):
        BuildConfig.model_validate({"picturs": 3})


def test_a_gpu_is_one_process_and_a_cpu_as_many_as_asked_for() -> None:
    assert BuildConfig(device="cpu", workers=3).trainers == 3
    assert BuildConfig(device="cuda", workers=3).trainers == 1
    assert BuildConfig(device="cpu").torch_device == torch.device("cpu")


def test_each_network_has_its_time_its_samples_and_its_batch() -> None:
    config = BuildConfig(clip_minutes=2, unet_samples=900, unet_batch=8, vae_batch=4)
    assert config.plan("clip").budget_s == 120
    assert config.plan("clip").samples is None
    assert (config.plan("unet").samples, config.plan("unet").batch) == (900, 8)
    assert config.plan("twin").batch == 8, "both UNets"
    assert config.plan("vae").batch == 4
    assert config.plan("second").batch == config.plan("clip").batch
    assert config.plan("twin").decay_share > config.plan("unet").decay_share


def test_what_learns_on_learns_at_a_lower_rate() -> None:
    fresh, on = BuildConfig(), BuildConfig(begin=Path("a"), begin_twin=Path("b"))
    for stage in ("vae", "unet", "twin"):
        assert on.plan(stage).lr < fresh.plan(stage).lr
    assert on.begin_with("fast_twin") == Path("b")
    assert on.begin_with("fast") == Path("a")
