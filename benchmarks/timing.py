"""Side-by-side timing: candidates take turns; a value for each in every round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Clock = Callable[[], float]
CALLS = 5  # of each candidate in each round


def interleaved(
    candidates: Mapping[str, Callable[[], object]], rounds: int, device: torch.device,
    calls: int = CALLS, clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds per call, one value per round (the median of `calls`), after a warm-up.

    clock: `time.process_time`, say, where a busy machine would hide what a call takes.
    """
    for call in candidates.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            times[name].append(
                statistics.median(_seconds(call, device, clock) for _ in range(calls))
            )
    return times


def _seconds(call: Callable[[], object], device: torch.device, clock: Clock) -> float:
    started = clock()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started
