"""Everything that must survive a restart, as one object saved and loaded together, to the bit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from kaiffin.foundation.errors import RunError

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
