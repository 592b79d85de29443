"""Adapters of every kind on tiny bases, and their files: what the tests of adapters share."""

from pathlib import Path

import torch
from torch import Tensor

from kaiffin.adapters.files import reading, safe, writing
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.adapters.load import load_adapter, table_of
from kaiffin.adapters.lora import Lora
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import LoraSpec
from kaiffin.models.base import Conditioning, ModelFamily, SizeFacts

FACTS = [SizeFacts((64, 64), (0, 0), (64, 64))] * 2


def conditioning(family: ModelFamily) -> Conditioning:
    return family.encode_text(["a photo of a dog", "ü"], FACTS)


def predict(family: ModelFamily) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=rng)
    return family.predict(x, torch.tensor([10, 700]), conditioning(family))


def made(family: ModelFamily, targets: str = "all-linear+conv", rank: int = 4, alpha: float = 6.0):
    specs = {
        tower: LoraSpec(targets if tower == "unet" else "all-linear", rank, alpha)
        for tower in family.towers
    }
    return Lora.create(specs, full_modules(family), seed=1)


def randomise(adapter: Lora, seed: int = 3) -> None:
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng))


HEADER = {"ss_network_dim": "4", "modelspec.trigger_phrase": "kaiffin", "ss_sd_model_name": "b"}


def varied(
    family: ModelFamily, dtype: torch.dtype = torch.float32, targets: str = "all-linear"
) -> AdapterFile:
    """All layers of all towers, ranks and alphas that differ from layer to layer.

    targets: those of the denoiser."""
    adapter = made(family, targets)
    randomise(adapter)
    found = reading.from_state(adapter.state(), family.name, HEADER)
    for i, parts in enumerate(found.modules.values()):
        keep = 1 + i % parts["lora_down.weight"].shape[0]
        parts["lora_down.weight"] = parts["lora_down.weight"][:keep].to(dtype)
        parts["lora_up.weight"] = parts["lora_up.weight"][:, :keep].to(dtype)
        parts["alpha"] = torch.tensor([1.0, 2.5, 6.0][i % 3], dtype=dtype)
    return found


def opened(path: Path, family: ModelFamily) -> AdapterFile:
    return reading.read(path, table_of(family))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(a[n].dtype == b[n].dtype and a[n].equal(b[n]) for n in a)


@torch.no_grad()
def output(family: ModelFamily, unet=None) -> Tensor:
    """One denoiser output on fixed inputs."""
    rng = torch.Generator().manual_seed(0)
    x, t = torch.randn(1, 4, 8, 8, generator=rng), torch.tensor([400])
    cond = family.encode_text(["a dog"], [SizeFacts((64, 64), (0, 0), (64, 64))])
    kept, family.net = family.net, unet or family.net
    try:
        return family.predict(x, t, cond)
    finally:
        family.net = kept


def with_ours(family: ModelFamily, path: Path) -> Tensor:
    adapter = load_adapter(path, family)
    adapter.inject(family)
    try:
        return output(family)
    finally:
        adapter.eject()


def one_alpha(found: AdapterFile) -> AdapterFile:
    for parts in found.modules.values():
        parts["alpha"] = torch.tensor(2.0)
    return found


def header(family: ModelFamily) -> dict[str, str]:
    base = writing.TrainedOn(family.name, "b", family.revision, "epsilon", 64)
    return writing.metadata(
        base, rank=4, alpha=6.0, title="t", trigger="kaiffin puffin", facts={"steps": 3}
    )


def written(family: ModelFamily, path: Path, targets: str = "all-linear") -> Lora:
    adapter = made(family, targets)
    randomise(adapter)
    shared = reading.from_state(adapter.state(), family.name)
    tensors = writing.to_kohya(shared, family.layers_per_block)
    safe.save(path, tensors, header(family))
    return adapter


def of_kind(family: ModelFamily, kind: str, targets: str = "all-linear+conv", **more) -> Lora:
    specs = {
        tower: LoraSpec(targets if tower == "unet" else "all-linear", 4, 6.0, kind=kind, **more)
        for tower in family.towers
    }
    return Lora.create(specs, full_modules(family), seed=1)


def moved(family: ModelFamily, kind: str, targets: str = "all-linear+conv") -> Lora:
    """Away from its start; DoRA's magnitudes stay near the lengths of the rows."""
    adapter = of_kind(family, kind, targets)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return adapter


def saved(adapter: Lora, family: ModelFamily, path: Path) -> Path:
    found = reading.from_state(adapter.state(), family.name)
    safe.save(path, writing.to_kohya(found, family.layers_per_block), {})
    return path
