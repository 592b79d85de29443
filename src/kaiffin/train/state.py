"""Everything that must survive a restart, as one object saved and loaded together, to the bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from kaiffin.errors import RunError

ADAPTER, OPTIMIZER, FACTS = "adapter.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class TrainState:
    """step: optimizer steps done; adapter and optimizer: tensors by name; facts: small numbers.

    Randomness is no part of it: every draw is a function of (seed, step).
    """

    step: int
    adapter: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    facts: dict[str, Any]

    def files(self) -> dict[str, bytes]:
        """The checkpoint as file contents; equal states give equal bytes."""
        facts = json.dumps({"step": self.step, **self.facts}, sort_keys=True)
        return {
            ADAPTER: to_bytes(self.adapter),
            OPTIMIZER: to_bytes(self.optimizer),
            FACTS: facts.encode(),
        }

    @staticmethod
    def read(folder: Path) -> TrainState:
        """Raises `RunError` naming the file that is missing or damaged."""
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            adapter = from_bytes((folder / ADAPTER).read_bytes())
            optimizer = from_bytes((folder / OPTIMIZER).read_bytes())
            return TrainState(facts.pop("step"), adapter, optimizer, facts)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise RunError(
                f"{folder}: this checkpoint cannot be read ({error}).",
                "Remove that folder: the one before it is used then.",
            ) from None
        except Exception as error:
            if type(error).__name__ != "SafetensorError":
                raise
            raise RunError(
                f"{folder}: this checkpoint is damaged ({error}).",
                "Remove that folder: the one before it is used then.",
            ) from None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's moments and step counts by `<parameter number>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value.detach().cpu().contiguous().clone()
        for number, entries in state.items()
        for name, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
