"""What tests of sweeps share: what a sweep has made, and acting on a training while it runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path


def results(out: Path) -> dict[str, bytes]:
    """Adapters, checkpoints, pictures, configs, numbers; of the metrics all but the times."""
    names = {"sweep.json", "made.json", "proof.json", "config.yaml"}
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.suffix in {".safetensors", ".png"} or path.name in names
    }
    for path in out.rglob("metrics.jsonl"):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [{k: v for k, v in one.items() if k != "seconds"} for one in entries]
        found[str(path.relative_to(out))] = json.dumps(kept).encode()
    return found


def at_first_checkpoint(run: Path, act: Callable[[int], None]) -> threading.Thread:
    """Waits for it in the background, then acts on the process that trains `run`."""

    def wait() -> None:
        until = time.monotonic() + 300
        while not list((run / "checkpoints").glob("step-*")):
            if time.monotonic() > until:
                return
            time.sleep(0.005)
        act(int((run / "lock.pid").read_text()))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def assert_same(made: dict[str, bytes], local: dict[str, bytes]) -> None:
    assert made.keys() == local.keys()
    assert [name for name in local if made[name] != local[name]] == []
    assert {"sweep.json", "sheet.png", "runs/slow-seed0/kai.safetensors"} <= set(local)
