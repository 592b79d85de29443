"""The promise of an adapter: small trainable weights on top of a frozen base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Adapter(Protocol):
    """Trainable weights that attach to named modules and detach without a trace.

    Names are `<tower>.<canonical path>`: `unet.down_blocks.0...to_q`,
    `text_encoder.text_model.encoder.layers.0.self_attn.q_proj`.
    """

    scale: float  # multiplier of the whole adapter at run time; 1.0 when training

    def inject(self, modules: Mapping[str, nn.Module]) -> None:
        """Attach to `modules` (all Linear/Conv2d by name); names wanted but absent are errors."""
        ...

    def eject(self) -> None:
        """Detach: the exact inverse of `inject`, bit for bit."""
        ...

    def parameters(self, tower: str | None = None) -> Iterator[nn.Parameter]:
        """The trainable fp32 weights in a stable order, of one tower or of all."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All weights and alphas by full name, e.g. `unet.<path>.lora_down.weight`."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take weights from `state`; strays and gaps raise `AdapterError` with their names."""
        ...

    def merge(self) -> None:
        """Add the scaled update into the base weights (undone by nobody; for export and tests)."""
        ...
