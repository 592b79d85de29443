"""An adapter over any number of layers of a base (see layers.py for their kinds).

The base's modules, names and weights stay untouched: each target gets a forward hook that adds
the layer's update to its output. Removing the hooks is therefore the exact inverse of adding them,
in any order, however many adapters share a module. Weights are fp32 whatever the base's dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kaiffin.adapters.forms import form_of
from kaiffin.adapters.kinds import by_module, refuse_names, refuse_other_shapes
from kaiffin.adapters.layers import LAYERS, Layer
from kaiffin.adapters.ranks import RankSchedule, is_timed, refuse
from kaiffin.adapters.targets import LoraSpec, select
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.kinds import KINDS
from kaiffin.foundation.runtime import generator


class Lora:
    """Small trainable weights on top of a frozen base, by the names of its layers.

    Names are `<tower>.<canonical path>`: `unet.down_blocks.0...to_q`,
    `text_encoder.text_model.encoder.layers.0.self_attn.q_proj`.

    After construction nothing is attached: call `inject`. `scale` may be changed at any time, and
    `scales` hold a further factor for some layers, `shares` one for each of as many equal parts of
    the batch. Where there are `ranks`, `hear` says for which noise; until then, all act.
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        self.layers = dict(layers)
        for name, layer in self.layers.items():
            layer.name = name
        self.scale = 1.0
        self.scales: dict[str, float] = {}
        self.shares: tuple[float, ...] = (1.0,)
        self.ranks: RankSchedule | None = None
        self._acting: dict[int, Tensor] = {}  # by rank, for each row of the batch
        self._handles: list[RemovableHandle] = []
        self._modules: dict[str, nn.Module] = {}

    @classmethod
    def create(
        cls, specs: Mapping[str, LoraSpec], modules: Mapping[str, nn.Module], seed: int
    ) -> Lora:
        """A fresh adapter: each layer is a function of (seed, its name) alone."""
        layers = {}
        for tower, spec in specs.items():
            kind = KINDS[spec.kind]
            for name in select(spec.targets, modules, tower):
                given = spec.of(name)
                if given is None:
                    continue
                rank, alpha = given
                alpha = alpha * rank**0.5 if kind.root else alpha
                layer = LAYERS[kind.formula].fresh(modules[name], rank, alpha, spec.dropout)
                layer.reset(generator(seed, "lora", name), modules[name])
                layers[name] = layer
        return cls(layers)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> Lora:
        """An adapter with the names, kinds, ranks and alphas of `state` (see `state`).

        Raises `AdapterError` naming modules that are absent or shapes that do not fit.
        """
        found = by_module(state)
        refuse_names(sorted(set(found) - set(modules)), "the base has no module")
        return cls({name: layer_of(name, modules[name], parts) for name, parts in found.items()})

    def inject(self, modules: Mapping[str, nn.Module]) -> None:
        """Attaches to `modules`; AdapterError names those that are wanted and absent."""
        if self._handles:
            raise RuntimeError("this adapter is attached already")
        refuse_names(sorted(set(self.layers) - set(modules)), "the base has no module")
        for name, layer in self.layers.items():
            self._modules[name] = modules[name]
            self._handles.append(modules[name].register_forward_hook(self._hook(name, layer)))

    def eject(self) -> None:
        """Detaches: the exact inverse of `inject`, bit for bit."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._modules.clear()
        self._acting = {}

    def hear(self, noise: Tensor) -> None:
        """Sets which ranks act for each row of the batch. noise: (B,), as shares of all times."""
        if self.ranks is not None:
            found = {}
            for rank in {layer.rank for name, layer in self.layers.items() if is_timed(name)}:
                count = self.ranks.count(noise, rank)
                found[rank] = torch.arange(rank, device=noise.device) < count[:, None]
            self._acting = found

    def _hook(self, name: str, layer: Layer):
        timed = is_timed(name)

        def add(target: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
            scale = self.scale * self.scales.get(name, 1.0)
            if scale == 0.0 or not any(self.shares):
                return None
            acting = self._acting.get(layer.rank) if timed else None
            if len(self.shares) == 1:
                return layer.add_to(out, inputs[0], target, scale * self.shares[0], acting)
            count = len(self.shares)
            which = acting.chunk(count) if acting is not None else [None] * count
            parts = zip(out.chunk(count), inputs[0].chunk(count), which, self.shares, strict=True)
            return torch.cat([
                layer.add_to(one, x, target, scale * share, act) if share else one
                for one, x, act, share in parts
            ])  # fmt: skip

        return add

    def parameters(self, tower: str | None = None) -> Iterator[nn.Parameter]:
        """The trainable fp32 weights in a stable order, of one tower or of all."""
        for name, layer in self.layers.items():
            if tower is None or name.startswith(f"{tower}."):
                yield from layer.parameters()

    def train(self, mode: bool = True) -> None:
        """Drop-out on or off."""
        for layer in self.layers.values():
            layer.train(mode)

    def state(self) -> dict[str, Tensor]:
        """Detached CPU copies by `<name>.<part>`, such as `.lora_down.weight` and `.alpha`."""
        state = {}
        for name, layer in self.layers.items():
            for part, weight in layer.tensors().items():
                state[f"{name}.{part}"] = weight.detach().cpu().clone()
            state[f"{name}.alpha"] = torch.tensor(layer.alpha)
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes the weights of `state`; an alpha that it lacks stays as it is."""
        found = by_module(state)
        refuse_names(sorted(set(found) - set(self.layers)), "the adapter has no place for")
        refuse_names(sorted(set(self.layers) - set(found)), "the file lacks")
        for name, layer in self.layers.items():
            _fill(name, layer, found[name])

    def merge(self) -> None:
        """Adds the scaled update into the base weights of the attached modules."""
        if self.ranks is not None:
            refuse(self.ranks.header(), "a base has the same weights at all of them")
        with torch.no_grad():
            for name, layer in self.layers.items():
                weight: Any = self._modules[name].weight
                scale = self.scale * self.scales.get(name, 1.0)
                weight += (scale * layer.weight_update(self._modules[name])).to(weight.dtype)


def layer_of(name: str, target: nn.Module, parts: Mapping[str, Tensor]) -> Layer:
    """The layer that a file holds as `parts`, to be put beside `target`.

    Raises AdapterError that names it and says why it does not fit.
    """
    try:
        layer = form_of(parts).of_parts(target, parts)
    except AdapterError as error:
        raise AdapterError(f"{name} {error.message}", error.fix) from None
    _fill(name, layer, parts)
    return layer


def _fill(name: str, layer: Layer, parts: Mapping[str, Tensor]) -> None:
    """Takes the layer's weights and alpha from `parts`, of which each must have its place."""
    own = layer.tensors()
    refuse_other_shapes(name, {part: tuple(own[part].shape) for part in own}, parts)
    with torch.no_grad():
        for part, parameter in own.items():
            parameter.copy_(parts[part])
    layer.alpha = float(parts.get("alpha", layer.alpha))
