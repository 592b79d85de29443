"""The benchmarks run from the command line on a tiny base and print what they promise."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO


@pytest.mark.parametrize(
    ("script", "options", "names", "unit"),
    [
        (
            "train_step.py",
            ["--batch", "1", "--kinds", "dora,oft"],
            ["floor", "ours", "plain", "dora", "oft"],
            "floor",
        ),
        ("generate.py", ["--steps", "2"], ["unet", "ours", "diffusers"], "unet"),
    ],
)
def test_a_benchmark(
    script: str, options: list[str], names: list[str], unit: str, sd_path: Path, tmp_path: Path
) -> None:
    file = tmp_path / "times.json"
    call = [sys.executable, str(REPO / "benchmarks" / script), "--base", str(sd_path), "--rounds",
            "2", "--json", str(file), *options]  # fmt: skip
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert list(found["seconds"]) == names
    assert all(len(times) == 2 and min(times) > 0 for times in found["seconds"].values())
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[1].strip() for row in rows] == names
    ratios = {row[1].strip(): float(row[3]) for row in rows}
    assert ratios[unit] == 1
    assert all(ratio > 0 for ratio in ratios.values())
