"""Side-by-side timing: candidates take turns; medians, and ratios within each round."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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


def table(times: Mapping[str, Sequence[float]], unit: str) -> str:
    """Markdown: median milliseconds, and the ratio to `unit` of the same round with its range."""
    rows = [f"| | ms (median) | times {unit} | range over rounds |", "|---|---|---|---|"]
    for name, values in times.items():
        ratios = sorted(v / u for v, u in zip(values, times[unit], strict=True))
        middle = statistics.median(ratios)
        span = f"{ratios[0]:.2f} - {ratios[-1]:.2f}"
        rows.append(f"| {name} | {statistics.median(values) * 1e3:.1f} | {middle:.2f} | {span} |")
    return "\n".join(rows)


def write_json(path: Path, times: Mapping[str, Sequence[float]], **facts: object) -> None:
    """Seconds per call of every round, with the machine and the versions, for later comparison."""
    machine = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
    }
    data = {**facts, **machine, "seconds": {name: list(values) for name, values in times.items()}}
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
