"""What commands load, by name: none of what the libraries bring along and nobody asked for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from kaiffin.foundation import spared

# Of each package one module that is there if and only if the package has run.
HEAVY = {
    "torch._dynamo.convert_frame", "torch._inductor", "bitsandbytes.functional",
    "scipy.optimize._optimize", "scipy.stats._stats_py", "scipy.integrate._quadpack_py",
    "diffusers.models.transformers.transformer_flux", "diffusers.models.unets.unet_3d_condition",
    "diffusers.models.autoencoders.autoencoder_dc", "diffusers.hooks.layerwise_casting",
    "diffusers.pipelines.pipeline_utils", "tensorboard", "matplotlib", "ray", "pytorch_optimizer",
}  # fmt: skip

# In one process, where torch and nothing else is there at first: what a command loads stays.
COMMANDS = """
import sys, torch
torch.set_num_threads(1)
import kaiffin.cli
heavy = set(sys.argv[1].split())
for line in sys.argv[2:]:
    code = kaiffin.cli.main(line.split())
    print("RAN", line, code, *sorted(heavy & set(sys.modules)), flush=True)
"""


def loaded(heavy: set[str], *lines: str, cwd: Path) -> list[str]:
    """For each command its words, its code, and those of `heavy` that are there after it."""
    call = [sys.executable, "-c", COMMANDS, " ".join(heavy), *lines]
    done = subprocess.run(call, capture_output=True, text=True, cwd=cwd)
    found = [row[4:] for row in done.stdout.splitlines() if row.startswith("RAN ")]
    assert len(found) == len(lines), done.stderr[-2000:]
    return found


def test_commands_load_one_model_and_no_library_whole(tmp_path: Path) -> None:
    lines = (
        "generate miniature x --steps 1 --out made",
        "rank made --prompt x --judge miniature --out ranked.png",
        "train made --class thing --steps 1 --data.prior.weight 0 --out run",
    )
    needed = {lines[2]: " diffusers.pipelines.pipeline_utils tensorboard"}  # the proof; its curves
    told = [f"{line} 0{needed.get(line, '')}" for line in lines]
    assert loaded(HEAVY, *lines, cwd=tmp_path) == told


@pytest.mark.slow  # imports all of it
def test_what_waits_is_whole_when_asked_for(tmp_path: Path) -> None:
    """Where Kaiffin has loaded a base, the libraries are what they are elsewhere."""
    code = """
import torch, kaiffin
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files.load import load
family = load(BaseConfig(), Runtime.from_config(BaseConfig()), SILENT)
from scipy import integrate, optimize, stats
assert round(stats.norm.cdf(0.0), 6) == 0.5 and integrate.quad(lambda x: x, 0, 2)[0] == 2
rows, columns = optimize.linear_sum_assignment([[1, 0], [0, 1]])
assert list(columns) == [1, 0] and optimize.minimize(lambda x: x @ x, [1.0]).success
from diffusers import FluxTransformer2DModel, StableDiffusionPipeline, UNet2DModel
from diffusers.hooks import apply_layerwise_casting
from transformers import AutoModel, BertModel
import transformers.models
assert transformers.models.bert.BertModel is BertModel
from peft import LoraConfig
family.towers["unet"].add_adapter(LoraConfig(r=2, target_modules=["to_q"]))
import bitsandbytes
assert bitsandbytes.nn.Linear4bit(2, 2).weight.shape == (2, 2)
from torch.fx.experimental.proxy_tensor import make_fx
made = make_fx(lambda x: x + 1, tracing_mode="symbolic")(torch.ones(2))
assert made(torch.ones(3)).tolist() == [2, 2, 2]
import torch._dynamo
assert torch._dynamo.disable.__module__.startswith("torch.")
assert torch._dynamo.is_compiling is not None
step = torch.compile(lambda x: x * 2 + 1, backend="eager")
assert step(torch.ones(2)).tolist() == [3, 3]
model = torch.compile(torch.nn.Linear(1, 1), backend="eager")
assert isinstance(model, torch._dynamo.eval_frame.OptimizedModule)
"""
    call = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def test_marks_for_a_compiler_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until there is one, which is then asked once."""

    def add(x: int, *, more: int = 0) -> int:
        return x + more

    waiting = SimpleNamespace(disable=spared._disable)
    monkeypatch.setitem(sys.modules, "torch._dynamo", waiting)
    both = [spared._disable(add), spared._disable(recursive=False)(add)]
    for made in both:
        assert made(1, more=2) == 3
        assert made.__name__ == "add"
    asked: list[bool] = []

    def disable(function: Callable[..., int], recursive: bool) -> Callable[..., int]:
        asked.append(recursive)
        return lambda x: -function(x)

    waiting.disable = disable
    assert [made(1) for made in both * 2] == [-1] * 4
    assert asked == [True, False]
