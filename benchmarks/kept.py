"""What a benchmark measured, kept for the pages: a file of docs/measured, with its conditions.

Each benchmark has `--keep`, or keeps what it measured of itself, raw enough for the tables and the
sentences that tools/measured.py makes of it (`make docs`). So a page says no number that no program
has seen, and where and when it was seen.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[1]
MEASURED = REPO / "docs" / "measured"
LIBRARIES = ("torch", "diffusers", "transformers", "peft")
BESIDE = os.getloadavg()[0]  # of this machine as a benchmark begins: what else wants its cores


def add_to(parser: argparse.ArgumentParser) -> None:
    told = "write what was measured, and where; the pages are made of docs/measured/NAME.json"
    parser.add_argument("--keep", type=Path, metavar="FILE", help=told)


def keep(path: Path | None, found: Any) -> None:
    """Writes figures and conditions, lists of numbers on one line; without a path it does not."""
    if path:
        text = json.dumps({"of": conditions(), "found": found}, indent=1, ensure_ascii=False)
        text = re.sub(r"\[[^][{}\"]*\]", lambda of: re.sub(r"\s+", " ", of[0]), text)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Any:
    """The figures alone."""
    return json.loads(path.read_text(encoding="utf-8"))["found"]


def conditions() -> dict[str, Any]:
    """What a reader needs to measure again: the command, the machine, the versions, the code."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "command": _command(), "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": COMMIT, "machine": f"{_processor()}, {os.cpu_count()} cores, {gpu}",
        "threads": torch.get_num_threads(), "beside": round(BESIDE, 1),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
    }  # fmt: skip


def _command() -> str:
    """As it was typed, without where it is kept; of files elsewhere on this machine the name."""
    words = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    if "--keep" in words:
        at = words.index("--keep")
        del words[at : at + 2]
    told = shlex.join(Path(word).name if Path(word).is_absolute() else word for word in words)
    threads = os.environ.get("OMP_NUM_THREADS")
    return f"OMP_NUM_THREADS={threads} {told}" if threads else told


def _commit() -> str:
    """Of the code that was measured; a star where it had changes."""
    commit = _git("rev-parse", "--short", "HEAD")
    return f"{commit}*" if _git("status", "--porcelain", "src", "benchmarks") else commit


def _git(*words: str) -> str:
    call = ["git", "-C", str(REPO), *words]
    return subprocess.run(call, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    """Linux names it in /proc alone."""
    path = Path("/proc/cpuinfo")
    told = path.read_text() if path.is_file() else ""
    found = re.search(r"model name\s*: (.*)", told)
    return found[1] if found else platform.processor() or platform.machine()


COMMIT = _commit()  # as a benchmark begins: others commit while it runs
