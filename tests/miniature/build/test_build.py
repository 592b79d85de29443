"""The recipe at toy size: all stages, and a real `kill -9` in the middle of one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kaiffin.cli.main import main
from kaiffin.miniature.build import marathon, nets, stages
from kaiffin.miniature.build.build import STAGES
from kaiffin.miniature.build.pool import render_pool
from kaiffin.miniature.build.recipe import BuildConfig, Stage
from kaiffin.miniature.judges import quality
from kaiffin.miniature.judges.looking import preview_specs
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import SPECIES, Spec
from kaiffin.score.statistics import wilson

TOY = [
    *("--pictures", "64", "--workers", "2", "--save-seconds", "0", "--preview-minutes", "60"),
    *("--clip-samples", "32", "--vae-samples", "32", "--unet-samples", "480"),
    *("--second-samples", "32", "--twin-samples", "16"),
    *("--clip-batch", "16", "--vae-batch", "8", "--unet-batch", "8"),
    *("--vae-channels", "8", "8", "8", "8", "--unet-channels", "32", "32"),
]


def start(out: Path, stage: str) -> subprocess.Popen:
    command = [str(Path(sys.executable).with_name("kaiffin")), "miniature", "build"]
    command += ["--out", str(out), "--only", stage, *TOY]
    return subprocess.Popen(command, start_new_session=True)


def finish(out: Path, *names: str) -> None:
    for name in names:
        assert start(out, name).wait(300) == 0


@pytest.mark.slow
def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole, "render", "towers", "latents", "unet", "second", "sized", "twin", "export")
    finish(killed, "render", "towers", "latents")
    process = start(killed, "unet")
    while not (killed / "unet" / "checkpoint.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "unet" / "done").exists(), "killed too late to prove anything"
    finish(killed, "unet", "second", "sized", "twin", "export")
    for part in ("weights/clip", "weights/vae", "weights/unet", "weights/text_encoder",
                 "weights-xl/text_encoder_2", "weights-xl/unet"):  # fmt: skip
        (one,) = (whole / part).glob("*.safetensors")
        other = killed / part / one.name
        assert one.read_bytes() == other.read_bytes(), part


def test_weights_go_into_the_working_folder():
    config = BuildConfig(out=Path("here"))
    assert config.weights_folder == Path("here/weights")  # never the shipped ones by accident
    assert config.twin_folder == Path("here/weights-xl")


def test_every_stage_can_be_run_alone():
    assert get_args(Stage) == tuple(STAGES)


def test_pool_is_the_renders_in_order(tmp_path):
    pool = render_pool(tmp_path / "pool.npy", 4, 16, seed=5, workers=1)
    for index, pixels in enumerate(pool):
        assert np.array_equal(pixels, np.asarray(world.render(world.training_spec(5, index), 16)))


def test_workers_parts_make_the_whole_batch():
    pool = stages.Pool(np.zeros((50, 4, 4, 3), np.uint8), seed=1)
    whole = pool.draw(1, step=9, batch=8, part=slice(0, 8))
    halves = [pool.draw(1, 9, 8, slice(at, at + 4)) for at in (0, 4)]
    assert np.array_equal(whole, np.concatenate(halves))


def test_images_come_in_the_order_asked_for():
    pixels = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    images = stages.Pool(pixels, 1).images(np.array([5, 0, 3, 3]))
    assert ((images[:, 0, 0, 0] + 1) * 127.5).round().tolist() == [5, 0, 3, 3]


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


def test_preview_prompts_are_reserved():
    specs = preview_specs()
    assert len(specs) == 32
    assert all(world.is_reserved(spec) for spec in specs)
    assert {spec.species for spec in specs} == set(SPECIES)


def test_wilson_interval_on_known_numbers():
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.490, abs=1e-3)
    assert high == pytest.approx(0.943, abs=1e-3)


def test_clip_sees_the_same_text_with_and_without_padding(tmp_path):
    config = BuildConfig(out=tmp_path)
    from kaiffin.miniature.build.workshop import load_tokenizer, new_network

    tokenizer, clip = load_tokenizer(config), new_network(config, "clip").eval()
    texts = ["a photo of a red cat", "a bear in the snow wearing a hat"]
    with torch.no_grad():
        short, full = (
            clip.get_text_features(input_ids=stages.tokenize(tokenizer, texts, full)).pooler_output
            for full in (False, True)
        )
    torch.testing.assert_close(short, full, rtol=1e-4, atol=1e-5)


def test_toy_weights_are_named_as_diffusers_names_them(tmp_path):
    from kaiffin.miniature.build.export import export

    torch.manual_seed(0)
    export(
        tmp_path / "weights",
        nets.make_clip(749, 77),
        nets.make_vae((8, 8, 8, 8)),
        nets.make_unet((32, 32)),
    )
    keys = load_file(tmp_path / "weights" / "text_encoder" / "model.safetensors")
    assert "text_model.embeddings.token_embedding.weight" in keys
    assert not list(tmp_path.glob(".*")), "no draft is left behind"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--only", "unet"], "needs latents.npy, which an earlier stage makes"),
        (["--only", "twin"], "needs latents_sized.npy, which an earlier stage makes"),
        (["--seed", "x"], "--seed x: "),
        (["--unet-minutes", "long"], "--unet-minutes long: "),
    ],
)
def test_a_build_that_cannot_start_says_why(flags, said, tmp_path, capsys):
    assert main(["miniature", "build", "--out", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err


def test_a_curve_leaves_out_what_a_kill_undid(tmp_path: Path) -> None:
    folder = tmp_path / "unet"
    folder.mkdir()
    rows = ["100\t10\t0.5", "200\t20\t0.4", "300\t30\t0.3", "150\t25\t0.45", "250\t35\t0.35"]
    (folder / "losses.tsv").write_text("\n".join(rows) + "\n")
    assert marathon.read_losses(folder) == [(100, 10, 0.5), (150, 25, 0.45), (250, 35, 0.35)]
    drawn = quality.curve(BuildConfig(out=tmp_path), "unet")
    assert "line [0.5000, 0.4500, 0.3500]" in drawn
    assert "0 --> 0" in drawn


def test_a_judge_that_never_errs_is_right_as_often_as_captions_allow() -> None:
    red, blue = Spec("cat", "red", "snow"), Spec("cat", "blue", "snow")
    assert quality.possible([red, blue], lambda spec, _: "a photo of a cat in the snow") == 0.5
    assert quality.possible([red, blue], quality.whole_caption) == 1.0
    specs = quality.distinct_specs(60)
    assert quality.possible(specs, quality.whole_caption) == 1.0
    assert all(world.is_reserved(spec) for spec in specs)


def test_accuracy_counts_each_answer_and_all_of_them_together() -> None:
    specs = quality.held_out_specs(3)
    right = [{q: getattr(spec, q) for q in quality.COLUMNS} for spec in specs]
    wrong = [right[0], {**right[1], "colour": "none"}, {**right[2], "scene": "none"}]
    found = quality.accuracy(wrong, specs)
    assert found == {
        "scene": (2, 3), "species": (3, 3), "colour": (2, 3), "accessory": (3, 3), "all": (1, 3),
    }  # fmt: skip
    clip = [{q: row[q] for q in quality.QUESTIONS} for row in right]  # asks no accessory
    assert "all" not in quality.accuracy(clip, specs)
    assert quality._row("CLIP", "samples", quality.accuracy(clip, specs)).endswith(" |  |  |")
