"""What a step of each network is trained on, a function of the step alone."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kaiffin.miniature.build import nets, stages
from kaiffin.miniature.build.recipe import BuildConfig
from kaiffin.miniature.build.workshop import load_tokenizer, new_network
from kaiffin.miniature.world import world


def test_workers_parts_make_the_whole_batch():
    pool = stages.Pool(np.zeros((50, 4, 4, 3), np.uint8), seed=1)
    whole = pool.draw(1, step=9, batch=8, part=slice(0, 8))
    halves = [pool.draw(1, 9, 8, slice(at, at + 4)) for at in (0, 4)]
    assert np.array_equal(whole, np.concatenate(halves))


def test_images_come_in_the_order_asked_for():
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    images = stages.Pool(pixels, 1).images(np.array([5, 0, 3, 3]))
    assert ((images[:, 0, 0, 0] + 1) * 127.5).round().tolist() == [5, 0, 3, 3]


def test_unet_loss_is_the_weighted_v_error():
    def unet(noised, t, states, added_cond_kwargs):
        return type("Out", (), {"sample": torch.zeros_like(noised)})

    latents, noise = torch.randn(2, 2, nets.LATENT_CHANNELS, 8, 8)
    t = torch.tensor([10, 900])
    alphas = nets.make_schedule().alphas_cumprod[t]
    snr = alphas / (1 - alphas)
    v = alphas.sqrt().view(-1, 1, 1, 1) * noise - (1 - alphas).sqrt().view(-1, 1, 1, 1) * latents
    expected = (v.square().mean((1, 2, 3)) * snr.clamp(max=5) / (snr + 1)).mean()
    torch.testing.assert_close(stages.unet_loss(unet, latents, noise, t, torch.zeros(2)), expected)


def test_clip_sees_the_same_text_with_and_without_padding(tmp_path):
    config = BuildConfig(out=tmp_path)
    tokenizer, clip = load_tokenizer(config), new_network(config, "clip").eval()
    texts = ["a photo of a red cat", "a bear in the snow wearing a hat"]
    with torch.no_grad():
        short, full = (
            clip.get_text_features(input_ids=stages.tokenize(tokenizer, texts, full)).pooler_output
            for full in (False, True)
        )
    torch.testing.assert_close(short, full, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_whitening_changes_latents_and_not_reconstructions():
    torch.manual_seed(0)
    vae = nets.make_vae((8, 8, 8, 8)).double().eval()
    pixels = torch.randn(32, 3, 64, 64).double()
    before = vae.encode(pixels).latent_dist.mean
    made = vae.decode(before).sample
    stages.whiten(vae, before)
    after = vae.encode(pixels).latent_dist.mean
    torch.testing.assert_close(vae.decode(after).sample, made, rtol=1e-6, atol=1e-8)
    channels = after.shape[1]
    flat = after.permute(0, 2, 3, 1).reshape(-1, channels)
    torch.testing.assert_close(torch.cov(flat.T), torch.eye(channels).double(), rtol=0, atol=1e-6)
    assert flat.mean(0).abs().max() < 1e-8


def pictures(count: int, seed: int = 1) -> stages.Pool:
    specs = [world.training_spec(seed, index) for index in range(count)]
    return stages.Pool(
        np.stack([np.asarray(world.render(spec, nets.SIZE)) for spec in specs]), seed
    )


def test_a_caption_is_of_the_picture_in_the_pool() -> None:
    pool = stages.Pool(np.zeros((9, 4, 4, 3), np.uint8), seed=1)
    spec = world.training_spec(1, 5)
    assert pool.caption(5, 2) == world.caption(spec, 2, 5)
    assert len({pool.caption(5, variant) for variant in range(20)}) > 5


def test_contrastive_loss_on_known_numbers() -> None:
    assert stages.contrastive(torch.zeros(7, 7)).item() == pytest.approx(math.log(7))
    assert stages.contrastive(100 * torch.eye(7)).item() == pytest.approx(0, abs=1e-6)
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(stages.contrastive(logits), stages.contrastive(logits.T))


def test_times_are_one_from_each_stratum_and_parts_make_the_whole() -> None:
    whole = stages.draw_noising(1, 4, 9, 50, slice(0, 50), (2, 3, 3))
    assert sorted((whole.t // 20).tolist()) == list(range(50))
    halves = [stages.draw_noising(1, 4, 9, 50, slice(at, at + 25), (2, 3, 3)) for at in (0, 25)]
    for name in ("t", "noise"):
        parts = torch.cat([getattr(half, name) for half in halves])
        assert torch.equal(parts, getattr(whole, name))
    assert set(whole.variants) == {0, 1}
    blank = [stages.draw_noising(1, 4, s, 50, slice(0, 50), (1, 1, 1)).blank for s in range(40)]
    assert 0.07 < np.mean(blank) < 0.13


def test_the_vae_sees_new_doodles_at_each_visit() -> None:
    seen: list[torch.Tensor] = []

    class Watches:
        device = torch.device("cpu")

        def encode(self, pixels: torch.Tensor):
            seen.append(pixels)
            raise StopIteration

    pool = pictures(4)
    loss = stages.vae_stage(Watches(), pool, batch=8)
    for step in (3, 3, 4):
        with pytest.raises(StopIteration):
            loss(step, slice(0, 8))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    row = pool.images(pool.draw(2, 3, 8, slice(0, 8)))
    same = [torch.equal(a, b) for a, b in zip(seen[0], row, strict=True)]
    assert same == [True, False, False, False] * 2, "three in four are doodled on"


def test_a_vae_that_learns_on_is_held_to_its_latents() -> None:
    """Of the loss, the distance of the latents is what it says; and both halves learn."""
    torch.manual_seed(0)
    old = nets.make_vae((8, 8, 8, 8)).eval().requires_grad_(False)
    vae, pool = copy.deepcopy(old).requires_grad_(True), pictures(4)
    with torch.no_grad():
        vae.quant_conv.bias[: nets.LATENT_CHANNELS] += 1.0
        vae.post_quant_conv.bias -= vae.post_quant_conv.weight[:, :, 0, 0].sum(1)
    found = [stages.held_stage(one, old, pool, 4)(3, slice(0, 4)) for one in (vae, old)]
    kl = 1e-4 * 0.5  # of means that are one apart, where the old ones are near zero
    assert float(found[0].detach() - found[1]) == pytest.approx(stages.HELD + kl, abs=0.02)
    found[0].backward()
    for half in (vae.encoder, vae.decoder):
        assert all(weight.grad is not None for weight in half.parameters())
        assert any(weight.grad.any() for weight in half.parameters())


def test_told_states_are_the_same_whether_they_were_kept_or_not(tmp_path: Path) -> None:
    """Rounded either way, the empty prompt where a caption is dropped, computed once."""
    asked: list[str] = []

    def encode(texts: list[str]) -> list[torch.Tensor]:
        asked.extend(texts)
        return [torch.tensor([[len(text) + 1 / 3] * 2 for text in texts])]

    pool = stages.Pool(np.zeros((6, 4, 4, 3), np.uint8), seed=1)
    stages.TextStates.prepare(tmp_path, 6, {"states": (2,)})
    states = stages.TextStates(encode, pool, tmp_path, ("states",))
    picks, variants = np.array([4, 0, 4]), np.array([1, 0, 1])
    blank = np.array([False, False, True])
    (cold,) = states.read(picks, variants, blank)
    assert asked == ["", pool.caption(0, 0), pool.caption(4, 1)]
    (warm,) = stages.TextStates(encode, pool, tmp_path, ("states",)).read(picks, variants, blank)
    assert torch.equal(cold, warm)
    assert asked[3:] == [""], "nothing but the empty prompt again"
    lengths = [len(pool.caption(4, 1)), len(pool.caption(0, 0)), 0]
    assert torch.equal(cold[:, 0], (torch.tensor(lengths) + 1 / 3).half().float())
