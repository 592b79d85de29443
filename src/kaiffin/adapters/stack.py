"""All that is put on a base at once: adapters by name, and custom tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kaiffin.adapters.lora import Lora
from kaiffin.adapters.strength import PLAIN, Weights
from kaiffin.adapters.tokens import Token
from kaiffin.models.base import ModelFamily
from kaiffin.models.diffusion.schedule import Schedule

EMBEDDING = "embedding"


def full_modules(family: ModelFamily) -> dict[str, nn.Module]:
    """Every Linear and Conv2d of all towers as `<tower>.<canonical path>`."""
    return {
        f"{tower}.{path}": module
        for tower in family.towers
        for path, module in family.modules(tower).items()
    }


class Stack:
    """Adapters by name ("" where there is one) and tokens, attached and detached together."""

    def __init__(self, adapters: Mapping[str, Lora], tokens: Sequence[Token] = ()) -> None:
        self.adapters = dict(adapters)
        self.tokens = list(tokens)
        self.weights: Weights = PLAIN
        self.skipped: Mapping[str, str] = {}  # keys of its file that are not applied, and why
        self._clock: RemovableHandle | None = None

    def inject(self, family: ModelFamily, names: Sequence[str] | None = None) -> None:
        """Attaches the tokens and the adapters `names` (default: all)."""
        modules, names = full_modules(family), list(self.adapters if names is None else names)
        for name in names:
            self.adapters[name].inject(modules)
        if timed := [self.adapters[name] for name in names if self.adapters[name].ranks]:
            denoiser = family.towers[family.denoiser]
            self._clock = denoiser.register_forward_pre_hook(_told_the_time(timed, family.schedule))
        for token in self.tokens:
            token.inject(family)

    def eject(self) -> None:
        for part in (*self.adapters.values(), *self.tokens):
            part.eject()
        if self._clock is not None:
            self._clock.remove()
            self._clock = None

    def parameters(self) -> Iterator[nn.Parameter]:
        for part in (*self.adapters.values(), *self.tokens):
            yield from part.parameters()

    def layers(self) -> Iterator[str]:
        """Names of all adapted layers."""
        for adapter in self.adapters.values():
            yield from adapter.layers

    def train(self, mode: bool = True) -> None:
        """Drop-out on or off."""
        for adapter in self.adapters.values():
            adapter.train(mode)

    def wear(self, on: bool) -> None:
        """Whether the adapters act at all; the words stay known."""
        for adapter in self.adapters.values():
            adapter.scale = float(on)

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Inside, the base speaks as it is, but for the words."""
        scales = {name: adapter.scale for name, adapter in self.adapters.items()}
        self.wear(False)
        try:
            yield
        finally:
            for name, scale in scales.items():
                self.adapters[name].scale = scale

    def share(self, *shares: float) -> None:
        """A further factor for each of so many equal parts of the batch."""
        for adapter in self.adapters.values():
            adapter.shares = shares

    def weigh(self, progress: float) -> None:
        """Sets every layer's weight for `progress`, from 0 at the first denoising step to 1."""
        if progress and not self.weights.changes:
            return  # as they were set at the first
        for adapter in self.adapters.values():
            adapter.scales = {name: self.weights.at(name, progress) for name in adapter.layers}

    def state(self) -> dict[str, Tensor]:
        """All weights by name; those of several adapters begin with `<name>/`."""
        found = {}
        for name, adapter in self.adapters.items():
            found |= {f"{_prefix(name)}{key}": value for key, value in adapter.state().items()}
        for token in self.tokens:
            for tower, value in token.state().items():
                found[f"{EMBEDDING}/{token.word}/{tower}"] = value
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        for name, adapter in self.adapters.items():
            adapter.load(_below(state, _prefix(name)))
        for token in self.tokens:
            token.load(_below(state, f"{EMBEDDING}/{token.word}/"))


def _told_the_time(adapters: Sequence[Lora], schedule: Schedule):
    """A hook before the denoiser, whose inputs are x_t and t, in training and in sampling."""

    def hear(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        noise = schedule.share_of(inputs[1])
        for adapter in adapters:
            adapter.hear(noise)

    return hear


def _prefix(name: str) -> str:
    return f"{name}/" if name else ""


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries that begin with `prefix`; without one, those of the single adapter."""
    if not prefix:
        return {key: value for key, value in state.items() if "/" not in key}
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
