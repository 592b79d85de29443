"""Golden numbers: ten steps of each sort of training, and pictures before they are decoded.

A refactor leaves them as they are. Where a change is meant to move them, renew them with
`make golden`, look at the difference in git, and say in CHANGELOG.md what moved and why.

All is computed on the CPU in 32 bits, where processors and numbers of threads change nothing but
the order of sums. Measured over one and two threads and over kernels for SSE4.1, AVX2 and AVX-512:
at most 4e-6 of a number, 1e-4 (the last digit stored) of a latent. The tolerances are ten and more
times that. A mistake moves more: weight decay left out moves a gradient by 2e-4 in the third step
already, a schedule that is off by one step by 1e-3, guidance that is 1 % off a latent by 0.006 and
more.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kaiffin.foundation.config import BaseConfig, SampleConfig
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.models.files.load import load_base
from kaiffin.pictures.request import request, with_size
from kaiffin.pictures.sample import generate
from kaiffin.stories.train import train

GOLDEN = Path(__file__).parent / "golden"
RELATIVE, LATENT = 1e-4, 1e-3  # of a loss or norm; of a latent, whose standard deviation is about 1
MOVED = (
    "The golden numbers of {} moved. Is that meant? Then `make golden` renews them, and"
    " CHANGELOG.md says what moved and why. If not, this change alters what everyone trains."
)

TRAININGS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"adapter.kind": "dora"},
    "text encoder": {"adapter.text_encoder": True},
    "prior": {"data.prior.weight": 0.5, "data.prior.num_images": 2, "data.prior.steps": 2},
    "miniature-xl": {"base.name": "miniature-xl"},
}
PICTURES = {
    "dpm++2m": ("miniature", SampleConfig(sampler="dpm++2m", steps=8)),
    "dpm++2m-sde": ("miniature", SampleConfig(sampler="dpm++2m-sde", steps=8)),
    "miniature-xl, ddim": ("miniature-xl", SampleConfig(sampler="ddim", steps=8, eta=0.5)),
}


@pytest.fixture(scope="module")
def puffins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of Kaiffin with captions, rendered as for `kaiffin demo`."""
    folder = tmp_path_factory.mktemp("puffins")
    for i, (image, caption) in enumerate(world.subject_photos("kaiffin", 3)):
        image.save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(caption)
    return folder


@pytest.mark.parametrize("name", TRAININGS)
def test_ten_steps(name: str, puffins: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    given = {
        "base.device": "cpu", "base.dtype": "fp32", "data.photos": puffins,
        "subject.noun": "puffin", "data.prior.weight": 0, "adapter.rank": 4,
        "adapter.targets": "attention", "train.steps": 10, "train.batch_size": 2,
        "train.lr": 1e-3, "train.weight_decay": 0.1, "train.tensorboard": False,
        "train.clip": 0.03,  # half of the gradients are longer
        "score.candidates": 1, **TRAININGS[name],
    }  # fmt: skip
    train(build(override({}, given)), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    steps = [
        {key: line[key] for key in ("loss", "prior_loss", "grad_norm") if line[key] is not None}
        for line in run.metrics()
    ]
    stored = golden("trainings.json", name, {"steps": steps, "norms": norms(run.adapter_path)},
                    pytestconfig)  # fmt: skip
    assert len(steps) == 10
    for number, (found, wanted) in enumerate(zip(steps, stored["steps"], strict=True), 1):
        assert found == pytest.approx(wanted, rel=RELATIVE), f"step {number}. {MOVED.format(name)}"
    assert norms(run.adapter_path) == pytest.approx(stored["norms"], rel=RELATIVE), (
        f"the weights. {MOVED.format(name)}"
    )


def norms(path: Path) -> dict[str, float]:
    """L2 norm over all tensors of a sort: lora_up.weight, lora_down.weight, alpha, dora_scale."""
    sorts: dict[str, list[torch.Tensor]] = {}
    for key, tensor in sorted(load_file(path).items()):
        sorts.setdefault(key.partition(".")[2], []).append(tensor.double().flatten())
    return {sort: torch.cat(tensors).norm().item() for sort, tensors in sorts.items()}


@pytest.mark.parametrize("name", PICTURES)
def test_latents(name: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    base, sample = PICTURES[name]
    config = BaseConfig(name=base, device="cpu", dtype="fp32")
    family = load_base(config, Runtime.from_config(config), tell=SILENT)
    decode, latents = family.decode, []

    def watched(latent: torch.Tensor) -> torch.Tensor:
        latents.append(latent[0])
        return decode(latent)

    monkeypatch.setattr(family, "decode", watched)
    list(generate(family, [request("a red cat on the beach", 7, with_size(sample, family))]))
    (latent,) = latents
    rows = [[round(value, 4) for value in channel.flatten().tolist()] for channel in latent]
    stored = golden("latents.json", name, rows, pytestconfig)
    torch.testing.assert_close(
        torch.tensor(rows), torch.tensor(stored), rtol=0, atol=LATENT,
        msg=lambda found: f"{MOVED.format(name)}\n{found}",
    )  # fmt: skip


def golden(file: str, name: str, found: Any, pytestconfig: pytest.Config) -> Any:
    """What is stored as `name` in `file`; with --renew-golden, what was found, stored first."""
    path = GOLDEN / file
    stored = json.loads(path.read_text()) if path.is_file() else {}
    if pytestconfig.getoption("--renew-golden"):
        stored[name] = found
        lines = (f' "{key}": {json.dumps(value)}' for key, value in stored.items())
        path.write_text("{\n" + ",\n".join(lines).replace("}, {", "},\n  {") + "\n}\n")
    return stored[name]
