"""LoRA (Hu et al. 2021, arXiv 2106.09685): `y = W x + scale * (alpha / r) * up(down(x))`.

The base's modules, names and weights stay untouched: each target gets a forward hook that adds
the low-rank path to its output. Removing the hooks is therefore the exact inverse of adding them,
in any order, however many adapters share a module. Weights are fp32 whatever the base's dtype.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kaiffin.errors import AdapterError, ConfigError
from kaiffin.runtime import generator

# Endings of canonical paths; "attention" is what the DreamBooth LoRA examples of the field train.
ATTENTION = (
    "*.to_q", "*.to_k", "*.to_v", "*.to_out.0",  # UNet
    "*.self_attn.q_proj", "*.self_attn.k_proj", "*.self_attn.v_proj", "*.self_attn.out_proj",
)  # fmt: skip
FEED_FORWARD = ("*.ff.net.0.proj", "*.ff.net.2", "*.mlp.fc1", "*.mlp.fc2")
PRESETS = ("attention", "attention+ff", "all-linear")


@dataclass(frozen=True)
class LoraSpec:
    """What one tower gets. targets: preset or patterns; scale of the path is alpha / rank."""

    targets: str
    rank: int
    alpha: float
    dropout: float = 0.0


def select(targets: str, modules: Mapping[str, nn.Module], tower: str) -> list[str]:
    """Names among `modules` (full names) of `tower` that `targets` means, in module order.

    `all-linear` is every layer of the transformer blocks with their projections `proj_in` and
    `proj_out` (192 modules of SD 1.x, 722 of SDXL), and every Linear of a text encoder's layers;
    `+conv` adds the resnets, down- and upsamplers (278 and 788): the sets that other programs
    train and read. The first and last convolution and the time embedding are never in a preset.
    Anything else is comma-separated glob patterns over canonical paths.
    Raises `ConfigError` when nothing is matched.
    """
    own = {n: m for n, m in modules.items() if n.startswith(f"{tower}.")}
    preset, plus, more = targets.partition("+conv")
    if preset in PRESETS and not more:
        names = [n for n in own if _in_preset(preset, n) or (plus and _is_convolutional(n))]
    else:
        patterns = [part.strip() for part in targets.split(",") if part.strip()]
        names = [n for n in own if any(_matches(p, n, tower) for p in patterns)]
    if not names:
        raise ConfigError(
            f"adapter.targets = {targets!r} matches no module of {tower}.",
            f"Use {', '.join(PRESETS)}, each also with +conv, or patterns such as"
            ' "*.attn2.to_k,*.attn2.to_v".',
        )
    return names


def _in_preset(preset: str, name: str) -> bool:
    if preset == "all-linear":
        return ".attentions." in name or ".encoder.layers." in name
    patterns = ATTENTION + FEED_FORWARD if preset == "attention+ff" else ATTENTION
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_convolutional(name: str) -> bool:
    return any(part in name for part in (".resnets.", ".downsamplers.", ".upsamplers."))


def _matches(pattern: str, name: str, tower: str) -> bool:
    path = name.removeprefix(f"{tower}.")
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern)


class LoraLayer(nn.Module):
    """The low-rank path beside one Linear or Conv2d.

    down: (r, in) or (r, in, kh, kw); up: (out, r) or (out, r, 1, 1). up starts at zero, so that
    the adapted model starts as the base.
    """

    def __init__(self, target: nn.Module, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        if isinstance(target, nn.Linear):
            down, up = (rank, target.in_features), (target.out_features, rank)
        elif isinstance(target, nn.Conv2d) and target.groups == 1:
            down = (rank, target.in_channels, *target.kernel_size)
            up = (target.out_channels, rank, 1, 1)
        else:
            raise ConfigError(f"LoRA cannot adapt a {type(target).__name__} with groups.")
        device = next(target.parameters()).device
        self.down = nn.Parameter(torch.zeros(down, device=device))
        self.up = nn.Parameter(torch.zeros(up, device=device))
        self.rank, self.alpha, self.dropout = rank, float(alpha), dropout

    def reset(self, rng: torch.Generator) -> None:
        """Kaiming-uniform down as in the reference implementation, zero up."""
        bound = 1 / math.sqrt(self.down[0].numel())  # kaiming_uniform with a = sqrt(5)
        with torch.no_grad():
            self.down.copy_((torch.rand(self.down.shape, generator=rng) * 2 - 1) * bound)
            self.up.zero_()

    def add_to(self, out: Tensor, x: Tensor, target: nn.Module, scale: float) -> Tensor:
        """out + scale * alpha / r * up(down(x)), in the dtype of `out`."""
        # Drop-out draws from torch's global generator, which the trainer seeds at every step.
        x = F.dropout(x, self.dropout, self.training) if self.dropout else x
        down, up = self.down.to(x.dtype), self.up.to(out.dtype)
        factor = scale * self.alpha / self.rank
        if isinstance(target, nn.Conv2d):
            hidden = F.conv2d(x, down, None, target.stride, target.padding, target.dilation)
            return out.add(F.conv2d(hidden.to(out.dtype), up), alpha=factor)
        hidden = F.linear(x, down).to(out.dtype).flatten(0, -2)
        return torch.addmm(out.flatten(0, -2), hidden, up.t(), alpha=factor).view_as(out)

    def weight_update(self, target: Any) -> Tensor:
        """alpha / r * up @ down in the shape of the target's weight, fp32."""
        update = self.up.flatten(1) @ self.down.flatten(1)
        return update.view(target.weight.shape) * (self.alpha / self.rank)


class Lora:
    """One adapter over any number of modules; see `adapters.base.Adapter`.

    After construction nothing is attached: call `inject`. `scale` may be changed at any time.
    """

    def __init__(self, layers: Mapping[str, LoraLayer]) -> None:
        self.layers = dict(layers)
        self.scale = 1.0
        self._handles: list[RemovableHandle] = []
        self._modules: dict[str, nn.Module] = {}

    @classmethod
    def create(
        cls, specs: Mapping[str, LoraSpec], modules: Mapping[str, nn.Module], seed: int
    ) -> Lora:
        """A fresh adapter: each layer is a function of (seed, its name) alone."""
        layers = {}
        for tower, spec in specs.items():
            for name in select(spec.targets, modules, tower):
                layer = LoraLayer(modules[name], spec.rank, spec.alpha, spec.dropout)
                layer.reset(generator(seed, "lora", name))
                layers[name] = layer
        return cls(layers)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> Lora:
        """An adapter with the names, ranks and alphas of `state` (see `state`).

        Raises `AdapterError` naming modules that are absent or shapes that do not fit.
        """
        names = dict.fromkeys(key.removesuffix(".lora_down.weight") for key in state
                              if key.endswith(".lora_down.weight"))  # fmt: skip
        _refuse(sorted(set(names) - set(modules)), "the base has no module")
        layers = {}
        for name in names:
            rank = state[f"{name}.lora_down.weight"].shape[0]
            alpha = state.get(f"{name}.alpha")
            layers[name] = LoraLayer(
                modules[name], rank, float(rank if alpha is None else alpha), 0.0
            )
        adapter = cls(layers)
        adapter.load(state)
        return adapter

    def inject(self, modules: Mapping[str, nn.Module]) -> None:
        if self._handles:
            raise RuntimeError("this adapter is attached already")
        _refuse(sorted(set(self.layers) - set(modules)), "the base has no module")
        for name, layer in self.layers.items():
            self._modules[name] = modules[name]
            self._handles.append(modules[name].register_forward_hook(self._hook(layer)))

    def eject(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._modules.clear()

    def _hook(self, layer: LoraLayer):
        def add(target: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            if self.scale == 0.0:
                return None
            return layer.add_to(out, inputs[0], target, self.scale)

        return add

    def parameters(self, tower: str | None = None) -> Iterator[nn.Parameter]:
        for name, layer in self.layers.items():
            if tower is None or name.startswith(f"{tower}."):
                yield layer.down
                yield layer.up

    def train(self, mode: bool = True) -> None:
        """Drop-out on or off."""
        for layer in self.layers.values():
            layer.train(mode)

    def state(self) -> dict[str, Tensor]:
        """Detached CPU copies of `<name>.lora_down.weight`, `.lora_up.weight` and `.alpha`."""
        state = {}
        for name, layer in self.layers.items():
            state[f"{name}.lora_down.weight"] = layer.down.detach().cpu().clone()
            state[f"{name}.lora_up.weight"] = layer.up.detach().cpu().clone()
            state[f"{name}.alpha"] = torch.tensor(layer.alpha)
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        wanted = set(self.state_names())
        _refuse(sorted(set(state) - wanted), "the adapter has no place for")
        missing = wanted - set(state) - {f"{name}.alpha" for name in self.layers}
        _refuse(sorted(missing), "the file lacks")
        for name, layer in self.layers.items():
            for part in ("down", "up"):
                self._copy(getattr(layer, part), state[f"{name}.lora_{part}.weight"], name)
            layer.alpha = float(state.get(f"{name}.alpha", torch.tensor(float(layer.rank))))

    def state_names(self) -> Iterator[str]:
        for name in self.layers:
            yield from (f"{name}.lora_down.weight", f"{name}.lora_up.weight", f"{name}.alpha")

    def merge(self) -> None:
        """Adds the scaled update into the base weights of the attached modules."""
        with torch.no_grad():
            for name, layer in self.layers.items():
                weight: Any = self._modules[name].weight
                weight += (self.scale * layer.weight_update(self._modules[name])).to(weight.dtype)

    @staticmethod
    def _copy(parameter: nn.Parameter, value: Tensor, name: str) -> None:
        if value.shape != parameter.shape:
            raise AdapterError(
                f"{name}: shape {tuple(value.shape)} where this base needs"
                f" {tuple(parameter.shape)}.",
                "The adapter was trained on another base; name that base with --base.",
            )
        with torch.no_grad():
            parameter.copy_(value)


def _refuse(names: Iterable[str], reason: str) -> None:
    found = list(names)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise AdapterError(
            f"{reason} {', '.join(found[:3])}{more}.",
            "The adapter belongs to another base model or another configuration.",
        )
