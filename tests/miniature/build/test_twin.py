"""The XL twin's recipe: growth that changes nothing, sizes that are true, words as Kaiffin says."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from transformers import CLIPTokenizer

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.build import nets, stages, twin
from kaiffin.miniature.build.export import export_twin, text_encoder
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.build.workshop import load_tokenizer
from kaiffin.miniature.world import world
from kaiffin.models.base import SizeFacts
from kaiffin.models.files.load import load_base


def randomised(network: torch.nn.Module, seed: int) -> torch.nn.Module:
    """diffusers begins with zero biases and the like, which would hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    return network.requires_grad_(False).eval()


@pytest.mark.parametrize("channels", [(32, 32), (32, 64)])
def test_a_grown_twin_says_what_the_miniature_says(channels: tuple[int, ...]) -> None:
    unet = randomised(nets.make_unet(channels), 1)
    grown = twin.grow(randomised(nets.make_twin_unet(channels), 2), unet)
    generator = torch.Generator().manual_seed(3)
    x, first = (torch.randn(shape, generator=generator) for shape in ((2, 16, 8, 8), (2, 77, 128)))
    second, pooled = torch.randn(2, 77, 192), torch.randn(2, 128)
    t = torch.tensor([10, 700])
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2)}
    told = grown(x, t, torch.cat([first, second], -1), added_cond_kwargs=added).sample
    torch.testing.assert_close(told, unet(x, t, first).sample, rtol=1e-4, atol=1e-4)
    silent = [name for name, weight in grown.named_parameters() if not weight.any()]
    assert silent, "the new parts add nothing"
    assert all(twin.SILENT.search(name) for name in silent)


def test_a_twin_gets_what_the_miniature_has_learnt_since() -> None:
    """Carried to a fresh twin, the difference is there whole: it says what `after` says."""
    before, after = (randomised(nets.make_unet((32, 64)), seed) for seed in (1, 2))
    fresh = randomised(nets.make_twin_unet((32, 64)), 3)
    again = twin.grow(copy.deepcopy(fresh), after)
    grown = twin.carry(twin.grow(fresh, before), before, after)
    for name, weight in grown.state_dict().items():
        torch.testing.assert_close(weight, again.state_dict()[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [64, 128])
def test_three_in_eight_pictures_come_from_another_size(side: int) -> None:
    facts = [twin.size_of(1, index, side) for index in range(800)]
    assert sum(f != twin.whole(side) for f in facts) == 300
    assert all(f.target == (side, side) for f in facts)
    for f in facts:
        large = f.original[0]
        assert f.original == (large, large)
        assert large <= side * 3 // 4 or large == side or large >= side * 9 // 8
        assert max(f.crop) <= max(0, large - side)
    assert facts == [twin.size_of(1, index, side) for index in range(800)]


def test_pictures_are_what_their_sizes_say() -> None:
    spec = world.random_spec(1, 0)
    whole = np.asarray(world.render(spec, 64))
    assert np.array_equal(twin.pictured(spec, twin.whole()), whole)
    large = np.asarray(world.render(spec, 96))
    cut = SizeFacts((96, 96), (5, 20), (64, 64))
    assert np.array_equal(twin.pictured(spec, cut), large[5:69, 20:84])
    small = twin.pictured(spec, SizeFacts((16, 16), (0, 0), (64, 64)))
    back = np.asarray(Image.fromarray(small).resize((16, 16), Image.Resampling.BOX))
    assert np.abs(back.astype(int) - np.asarray(world.render(spec, 16))).mean() < 6
    assert small.astype(int).std() < whole.astype(int).std() + 1


@torch.no_grad()
def test_told_of_twice_the_pixels_it_draws_the_same() -> None:
    """What the UNet hears of whole pictures is as before, and of the others much nearer to it than
    by the doubled numbers alone."""
    unet = randomised(nets.make_twin_unet((32, 32)), 3)
    facts = [twin.size_of(1, index) for index in (0, *range(1, 200, 4))]
    told = torch.tensor([[*f.original, *f.crop, *f.target] for f in facts]).float()

    def heard(sizes: torch.Tensor) -> torch.Tensor:
        waves = unet.add_time_proj(sizes.flatten()).reshape(len(facts), -1)
        return unet.add_embedding.linear_1(torch.cat([torch.ones(len(facts), 128), waves], 1))

    before, doubled = heard(told), heard(2 * told)
    twin.tell_larger(unet, 1)
    after = heard(2 * told)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0.01)
    assert (after - before).square().mean() < 0.25 * (doubled - before).square().mean()


def test_the_second_tower_learns_the_pictures(tmp_path: Path) -> None:
    """CLIP's loss begins near log(batch), whatever it is told, and falls."""
    tokenizer = load_tokenizer(BuildConfig(out=tmp_path), second=True)
    torch.manual_seed(0)
    tower = nets.make_second_tower(len(tokenizer), 77)
    seen = F.normalize(torch.randn(16, nets.WIDTH), dim=-1)
    pool = stages.Pool(np.zeros((16, 4, 4, 3), np.uint8), seed=1)
    loss = twin.second_stage(tower, tokenizer, seen, pool, batch=8)
    optimizer = torch.optim.AdamW(tower.parameters(), 1e-3)
    losses = []
    for step in range(40):
        optimizer.zero_grad()
        now = loss(step, slice(0, 8))
        now.backward()
        optimizer.step()
        losses.append(now.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A twin of random weights, written as the recipe writes it."""
    folder = tmp_path_factory.mktemp("twin") / "weights"
    clip = randomised(nets.make_clip(749, 77), 1)
    second = randomised(nets.make_second_tower(749, 77), 2)
    vae, unet = nets.make_vae((8, 8, 8, 8)), nets.make_twin_unet((32, 32))
    export_twin(folder, text_encoder(clip), second, vae, unet)
    return folder


@torch.no_grad()
def test_the_recipe_tells_the_unet_what_kaiffin_and_diffusers_tell_it(toy: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(toy)
    tokenizers = [CLIPTokenizer.from_pretrained(toy / n) for n in ("tokenizer", "tokenizer_2")]
    assert [t.pad_token for t in tokenizers] == ["<|endoftext|>", "!"]
    encode = twin.encoder(pipeline.text_encoder, pipeline.text_encoder_2, tuple(tokenizers))
    prompts = ["a photo of a red bear in the snow", ""]
    contexts, pooled = encode(prompts)
    theirs, _, their_pooled, _ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False)
    torch.testing.assert_close(contexts, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pooled, their_pooled, rtol=1e-4, atol=1e-4)
    base = BaseConfig(name=str(toy))
    family = load_base(base, Runtime.from_config(base), tell=SILENT)
    ours = family.encode_text(prompts, [twin.whole()] * 2)
    torch.testing.assert_close(contexts, ours["context"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(pooled, ours["pooled"], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_text_encoder_is_the_tower_of_the_clip() -> None:
    clip = randomised(nets.make_clip(749, 77), 4)
    tokens = torch.tensor([[747, 5, 9, 748]])
    alone = text_encoder(clip)(input_ids=tokens).last_hidden_state
    torch.testing.assert_close(alone, clip.text_model(input_ids=tokens).last_hidden_state)


def test_large_networks_are_written_in_shards(tmp_path: Path) -> None:
    """Each small enough for what carries 16 MiB at a time, and read back whole by diffusers."""
    from diffusers import UNet2DConditionModel

    from kaiffin.miniature.build.export import _write_diffusers

    unet = nets.make_twin_unet((96, 160))
    _write_diffusers(tmp_path, unet)
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 1
    assert max(file.stat().st_size for file in files) <= 16 * 2**20
    again = UNet2DConditionModel.from_pretrained(tmp_path)
    for name, weight in unet.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight.half().float()), name
