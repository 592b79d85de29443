"""How many ranks of a LoRA act at which noise (T-LoRA, Soboleva et al. 2025, arXiv 2507.05964).

`r(s) = floor((1 - s)^power * (r - min_rank)) + min_rank` with the share s of all times that lie
below t: the first ranks act at every noise, the further ones join as it falls. Torch-free.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from kaiffin.adapters.kinds import kind_of
from kaiffin.foundation.config import AdapterConfig
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.families.spec import TEXT

if TYPE_CHECKING:
    from torch import Tensor

HEADER = "kaiffin.rank_schedule"  # in the header of an adapter file: a `RankSchedule` as JSON
ROUNDING = 1e-4  # of a rank, which fp32 may not cost
PLAIN = "Fit a plain file first: kaiffin adapter convert IN OUT --to kohya --plain."


@dataclass(frozen=True)
class RankSchedule:
    """min_rank: how many act at every noise; power: the larger, the later the others join. Text
    encoders know no noise: their layers are whole."""

    min_rank: int
    power: float = 1.0

    def count(self, noise: Tensor, rank: int) -> Tensor:
        """How many of `rank` act, at shares of all times, 0 where there is no noise."""
        least = min(self.min_rank, rank)
        return least + ((1 - noise) ** self.power * (rank - least) + ROUNDING).floor()

    def shares(self, rank: int) -> list[float]:
        """The share of all times at which each of `rank` acts."""
        least = min(self.min_rank, rank)
        joined = (1 - ((n + 1) / (rank - least)) ** (1 / self.power) for n in range(rank - least))
        return [1.0] * least + list(joined)

    def header(self) -> dict[str, str]:
        return {HEADER: json.dumps(asdict(self))}


def ranks_of(config: AdapterConfig) -> RankSchedule | None:
    """What a training's settings ask for."""
    return RankSchedule(config.min_rank, config.rank_power) if config.min_rank else None


def is_timed(name: str) -> bool:
    """Whether a rank schedule is about the layer of this name."""
    return not name.startswith(TEXT)


def read(
    header: Mapping[str, str], modules: Mapping[str, Mapping[str, Tensor]]
) -> RankSchedule | None:
    """What a file's header says of its layers; AdapterError where it cannot be meant."""
    if HEADER not in header:
        return None
    try:
        given = json.loads(header[HEADER])
        found = RankSchedule(int(given["min_rank"]), float(given["power"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        found = RankSchedule(0)
    if found.min_rank < 1 or not 0 < found.power < math.inf:
        raise AdapterError(f"{HEADER} = {header[HEADER][:60]!r} cannot be read.")
    others = {kind_of(parts) for name, parts in modules.items() if is_timed(name)} - {"lora"}
    if others:
        kind = others.pop()
        raise AdapterError(f"{HEADER}: {kind} has no ranks that could be left out one by one.")
    return found


def refuse(header: Mapping[str, str], why: str) -> None:
    """AdapterError where the ranks of a file depend on the noise. why: its use has none."""
    if HEADER in header:
        raise AdapterError(f"has ranks that depend on the timestep, and {why}.", PLAIN)
