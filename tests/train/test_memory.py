"""The memory plan against what training really takes, the ladder, and each of its rungs."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import fresh
import numpy as np
import pytest
import torch
import yaml
from begun_run import edit
from PIL import Image
from safetensors.torch import load_file, save_file
from test_optimizers import NAMES, made

from kaiffin.adapters.stack import Stack
from kaiffin.cli.main import main
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, changed, override
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily, SizeFacts
from kaiffin.models.files.load import load, refitted
from kaiffin.stories import plan
from kaiffin.train import memory
from kaiffin.train.session import Session, open_session

# The kernel's high-water mark of memory, reset after everything is loaded. glibc keeps freed memory
# for itself, up to twice what is in use; told to give it back, it hides nothing.
MEASURE = """
import json, sys
from pathlib import Path
from kaiffin.foundation import settings
from kaiffin.train import memory
from kaiffin.data.dataset import Dataset
from kaiffin.train.session import open_session
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.tell import SILENT
from kaiffin.train.trainer import Trainer

config = settings.build(json.loads(sys.argv[1]))
s = open_session(config, None, tell=SILENT)
found = memory.Meter(s.family, s.stack, s.phases, s.runtime).memory(s.config)
dataset = Dataset(s.prepared.examples, [], s.config.data, 0)
s.stack.inject(s.family)
trainer = Trainer(s.family, s.stack, dataset, s.phases[0], s.runtime, TensorCache(None))
trainer.inputs.conditioning(trainer.inputs.batches(0)[0])
before = memory.resident(s.family.device)
Path("/proc/self/clear_refs").write_text("5")
trainer.fit(2)
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
print(json.dumps({"predicted": found.adapter + found.step, "measured": peak - before}))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux' /proc")
@pytest.mark.parametrize(
    "more",
    [
        {},
        pytest.param(
            {"train.gradient_checkpointing": True, "train.batch_size": 64}, marks=pytest.mark.slow
        ),
        pytest.param(
            {
                "adapter.kind": "dora",
                "adapter.text_encoder": True,
                "embedding.vectors": 2,
                "train.optimizer": "lion",
                "train.ema": 0.9,
            },
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plain", "checkpointing", "all"],
)
def test_predicted_is_measured(more: dict, photos6: Path, tmp_path: Path) -> None:
    """On the CPU, within 15 %, for steps large enough to be seen."""
    given = {
        "data.photos": str(photos6), "data.upscale": True, "subject.noun": "thing",
        "train.batch_size": 16, "data.prior.weight": 0, "train.steps": 2, "adapter.rank": 64,
    } | more  # fmt: skip
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    call = [script, json.dumps(override({}, given))]
    done = fresh.run(call, before=fresh.frees_at_once)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["measured"] > 30e6
    print(found)
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.15)


@pytest.mark.parametrize("name", NAMES)
def test_the_states_of_optimizers_take_what_is_planned(
    name: str, sd: ModelFamily, folder: Path
) -> None:
    one = made(sd, folder, name, **{"adapter.targets": "*.attn*.to_*", "adapter.rank": 64})
    one.fit(until=2)
    numbers = sum(p.numel() for p in one.trained)
    states = [value for state in one.optimizer.state.values() for value in state.values()]
    taken = sum(v.numel() * v.element_size() for v in states if isinstance(v, torch.Tensor))
    # bitsandbytes leaves small matrices in 32 bits, and tiny are all of these.
    planned = 8 if name == "adamw8bit" else memory.OPTIMIZER_BYTES[name]
    # Adafactor keeps sums of rows and columns, which count in matrices as small as these.
    assert taken / numbers == pytest.approx(planned, abs=1.3 if name == "adafactor" else 0.6)
    one.stack.eject()


FEW = "*.attn1.to_q"  # layers: each adds a dozen operations to a step that is counted
RESIDENT = 400_000_000  # what the program itself holds, held still


@pytest.fixture
def session(photos6: Path, sd_path: Path) -> Session:
    given = {
        "data.photos": photos6, "base.name": str(sd_path), "subject.noun": "thing",
        "data.upscale": True, "base.device": "cpu", "train.batch_size": 4, "adapter.rank": 16,
        "adapter.targets": FEW,
    }  # fmt: skip
    return open_session(build(override({}, given)), None, tell=SILENT)


def meter_of(session: Session) -> memory.Meter:
    return memory.Meter(session.family, session.stack, session.phases, session.runtime)


def climbed(
    session: Session, meter: memory.Meter, room: int, device: str = "cuda"
) -> list[memory.Rung]:
    """The rungs as they are offered on `device`; all is measured here."""
    meter.device = torch.device(device)
    measured = replace(meter.memory(session.config), resident=RESIDENT)
    return memory.ladder(session.config, measured, meter, room)


def test_the_ladder_goes_down_rung_by_rung_and_leaves_nothing_behind(session: Session) -> None:
    meter, before = meter_of(session), predicted(session.family)
    rungs = climbed(session, meter, 0)
    assert torch.equal(predicted(session.family), before)
    assert all(p.grad is None for p in session.stack.parameters())
    assert not session.family.towers["unet"].is_gradient_checkpointing
    names = [next(iter(rung.changes)) for rung in rungs]
    assert names[:4] == [
        "train.batch_size", "base.text_device", "train.gradient_checkpointing", "base.dtype",
    ]  # fmt: skip
    assert names[4:] == ["train.optimizer", "base.quantize", "base.quantize"]
    peaks = [rung.peak for rung in rungs]
    assert peaks == sorted(peaks, reverse=True)
    assert len(set(peaks)) == len(peaks)
    every = {k: v for rung in rungs for k, v in rung.changes.items()}
    taken = changed(session.config, **every)
    assert taken.train.batch_size * taken.train.accumulate == 4
    assert all(rung.price for rung in rungs)
    assert len(climbed(session, meter, peaks[1])) == 2  # no further than needed
    assert climbed(session, meter, 10**12) == []
    # Text encoders that are on the CPU already cannot go there.
    here = climbed(session, meter, 0, "cpu")
    assert not any("base.text_device" in rung.changes for rung in here)


def test_what_is_known_is_not_measured_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only by settings that change no step and no picture; by others it is."""
    sizes = iter(range(10))
    monkeypatch.setattr(memory, "lived", lambda _: next(sizes))
    meter, config = meter_of(session), session.config
    assert config.data.prior.weight, "so that a step sees twice as many pictures"
    changes = [
        ({}, 0), ({"train.lr": 1.0, "train.optimizer": "lion", "base.dtype": "bf16"}, 0),
        ({"train.batch_size": 3}, 1), ({"train.gradient_checkpointing": True}, 2),
        ({"data.resolution": 128}, 3), ({"data.prior.weight": 0}, 4),
        ({"subject.noun": "bear"}, 5), ({"train.batch_size": 3}, 1),
    ]  # fmt: skip
    assert [meter.step(changed(config, **one)) for one, _ in changes] == [n for _, n in changes]
    pictures = [{}, {"train.batch_size": 2}, {"data.resolution": 1024}, {}]
    assert [meter.pictures(changed(config, **one)) for one in pictures] == [6, 6, 7, 6]
    tiled = {"data.resolution": 1024, "base.vae_tiling": True}
    assert meter.pictures(changed(config, **tiled)) == 8


def call(folder: Path, base: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(folder), "--base", str(base), "--class", "thing", "--steps", "2",
            "--out", str(out), "--data.prior.weight", "0", "--train.tensorboard", "false",
            "--train.batch_size", "4", *more]  # fmt: skip


@pytest.mark.parametrize("taken", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_full_device_is_said_and_mended_where_asked(
    taken: bool, folder: Path, sd_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    room = memory.resident(torch.device("cpu"))
    monkeypatch.setattr(plan, "available", lambda _: room)
    monkeypatch.setattr(plan, "SMALL_SHARE", 0.0)  # a tiny base would not be looked at
    more = ["--adapter.targets", FEW, *["--train.fit_memory", "true"] * taken]
    assert main(call(folder, sd_path, tmp_path / "run", *more)) == 0
    said = capsys.readouterr().out
    assert "that does not fit" in said
    assert "--train.batch_size 1 --train.accumulate 4" in said
    config = Run.open(tmp_path / "run").config
    assert config.train.batch_size == (1 if taken else 4)
    assert (config.base.dtype == "bf16") == taken
    assert ("taken, since train.fit_memory is set" in said) == taken
    run = edit(Run.open(tmp_path / "run"), train__fit_memory=True)
    run.adapter_path.unlink()  # as if it had been killed before the end
    assert main(["resume", str(run.path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ("it has no effect on a training that has begun" in said) != taken
    assert "taken, since" not in said
    before = config.train.model_copy(update={"fit_memory": True})
    assert Run.open(run.path).config.train == before


def test_a_dry_run_says_where_the_memory_goes(
    folder: Path, sd_path: Path, capsys: pytest.CaptureFixture
) -> None:
    few = ["--adapter.targets", FEW]
    assert main([*call(folder, sd_path, Path("nowhere")), *few, "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "at the peak of" in said
    assert "activations and gradients of a step" in said


# --- the rungs --------------------------------------------------------------------------------


def loaded(path: Path, **more: object) -> ModelFamily:
    base = BaseConfig(name=str(path), device="cpu", **more)
    return load(base, Runtime.from_config(base), tell=SILENT)


@torch.no_grad()
def predicted(family: ModelFamily) -> torch.Tensor:
    size = SizeFacts((64, 64), (0, 0), (64, 64))
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    cond = family.encode_text(["a dog", "a cat"], [size] * 2)
    return family.predict(x, torch.tensor([10, 700]), cond)


@pytest.mark.parametrize(("how", "share", "error"), [("int8", 0.3, 0.02), ("nf4", 0.2, 0.2)])
@pytest.mark.parametrize("base", ["sd_path", "sdxl_path"])
def test_a_quantised_base(
    how: str, share: float, error: float, base: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(base)
    plain, small = loaded(path), loaded(path, quantize=how)
    sizes = [
        sum(m.weight.numel() * m.weight.element_size() for m in f.towers["unet"].modules()
            if isinstance(m, torch.nn.Linear))
        for f in (plain, small)
    ]  # fmt: skip
    assert sizes[1] <= share * sizes[0]
    a, b = predicted(plain), predicted(small)
    assert 0 < (a - b).norm() / a.norm() < error
    assert list(plain.modules("unet")) == list(small.modules("unet"))


@pytest.mark.parametrize("how", ["int8", "nf4"])
def test_training_and_generating_on_it(
    how: str, folder: Path, sd_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    more = ["--adapter.targets", FEW, "--base.quantize", how]
    assert main(call(folder, sd_path, run, *more)) == 0
    assert "proof: an independent reader attaches" in capsys.readouterr().out
    out = tmp_path / "out"
    assert main(["generate", str(run), "a kaiffin", "--steps", "2", "--out", str(out)]) == 0
    (picture,) = out.glob("a-kaiffin*.png")
    assert main(["generate", "--from", str(picture), "--out", str(tmp_path / "again")]) == 0
    (again,) = (tmp_path / "again").glob("*.png")
    assert Image.open(again).tobytes() == Image.open(picture).tobytes()


@pytest.mark.parametrize("kind", ["dora", "oft"])
def test_what_a_quantised_base_cannot_do(kind: str) -> None:
    with pytest.raises(ConfigError, match="needs the base's weights themselves"):
        build({"base": {"quantize": "int8"}, "adapter": {"kind": kind}})


def test_without_bitsandbytes_it_names_the_extra(
    sd_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="needs the extra 8bit"):
        loaded(sd_path, quantize="nf4")


def test_tiles_and_the_text_device_change_nothing_on_small_pictures(
    folder: Path, sd_path: Path, tmp_path: Path
) -> None:
    files = []
    for name, more in (
        ("a", []),
        ("b", ["--base.vae_tiling", "true", "--base.text_device", "cpu"]),
    ):
        few = ["--adapter.targets", FEW]
        assert main(call(folder, sd_path, tmp_path / name, *few, *more)) == 0
        out = tmp_path / f"{name}-out"
        make = ["generate", str(tmp_path / name), "a kaiffin", "--steps", "2", "--out", str(out)]
        assert main(make) == 0
        files.append(np.asarray(Image.open(next(out.glob("a-kaiffin*.png")))))
    assert np.array_equal(*files)
    settings = yaml.safe_load((tmp_path / "b" / "config.yaml").read_text())
    assert settings["base"]["vae_tiling"] is True


def test_tiles_take_less_memory(sd_path: Path) -> None:
    """At 1024 px the decoder of a tile takes a quarter of the whole picture's."""
    config = build({"data": {"resolution": 1024}})
    tiled = changed(config, **{"base.vae_tiling": True})
    meter = memory.Meter(loaded(sd_path), Stack({}), [], Runtime.from_config(config.base))
    assert meter.pictures(tiled) < 0.3 * meter.pictures(config)
    vae = loaded(sd_path, vae_tiling=True).vae
    assert (vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size) == (True, 512, 64)


@pytest.mark.parametrize("variant", [False, True])
def test_a_refitted_base_is_the_one_that_would_be_loaded(
    variant: bool, sd_path: Path, tmp_path: Path
) -> None:
    """In place, or from its fp16 files where the other dtype has such."""
    path = shutil.copytree(sd_path, tmp_path / "sd")
    for file in list(path.rglob("*.safetensors")) if variant else ():
        half = {name: value.half() for name, value in load_file(file).items()}
        save_file(half, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
    before = BaseConfig(name=str(path), device="cpu")
    after = before.model_copy(update={"dtype": "bf16", "quantize": "nf4", "vae_tiling": True})
    family = loaded(path)
    made = refitted(family, before, after, Runtime.from_config(after), tell=SILENT)
    wanted = load(after, Runtime.from_config(after), tell=SILENT)
    assert (made is family) == (not variant)
    assert (made.dtype, made.quantize, made.revision) == (torch.bfloat16, "nf4", wanted.revision)
    assert made.vae.use_tiling
    assert torch.equal(predicted(made), predicted(wanted))
