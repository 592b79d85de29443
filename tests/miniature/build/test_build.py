"""The recipe at toy size: all stages, and a real `kill -9` in the middle of one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from kaiffin.cli.main import main
from kaiffin.miniature.build.build import STAGES
from kaiffin.miniature.build.recipe import BuildConfig, Stage

TOY = [
    *("--pictures", "64", "--workers", "2", "--save-seconds", "0", "--preview-minutes", "60"),
    *("--clip-samples", "32", "--vae-samples", "32", "--unet-samples", "480"),
    *("--second-samples", "32", "--twin-samples", "16", "--fast-samples", "240"),
    *("--clip-batch", "16", "--vae-batch", "8", "--unet-batch", "8"),
    *("--fast-batch", "8"),
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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--only", "unet"], "needs latents.npy, which an earlier stage makes"),
        (["--only", "fast"], "needs pool.npy, which an earlier stage makes"),
        (["--only", "twin"], "needs latents_sized.npy, which an earlier stage makes"),
        (["--seed", "x"], "--seed x: "),
        (["--unet-minutes", "long"], "--unet-minutes long: "),
    ],
)
def test_a_build_that_cannot_start_says_why(flags, said, tmp_path, capsys):
    assert main(["miniature", "build", "--out", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err
