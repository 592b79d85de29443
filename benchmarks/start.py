"""What every command pays before its work: start and load, beside what neither can do without.

    python benchmarks/start.py [--base miniature] [--dtype bf16] [--commands WORDS,...] [--rounds 5]
                               [--cold] [--keep FILE]

All are seconds of a processor's time, which other programs on the machine do not lengthen much;
with `--cold` a load counts by the clock, and its files come from the disk, as on a day's first.

- start: each command in a process of its own, beside `python -c "import torch"`
- load: a base, beside what safetensors takes for the same files and dtype, each weight read from
  its file; and by how much a process that does so exceeds the weights at its peak

For real sizes without a download: `full_base("sd1", folder, torch.float32)` of tests/full.py.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import kept
import tables
import torch
from safetensors.torch import load_file
from timing import interleaved
from torch import Tensor

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.runtime import DTYPES, Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files import resolve
from kaiffin.models.files.load import load
from kaiffin.models.parts import num_bytes

TORCH = "import torch"
PAGE = 4096  # bytes
# In this order: each uses what those before it have made. {n} is another for every call.
COMMANDS = (
    "--help", "generate miniature x --steps 1 --out made{n}",
    "rank made0 --prompt x --judge miniature --out ranked.png",
    "train made0 --class thing --steps 1 --data.prior.weight 0 --out run{n}", "resume run0",
    "adapter inspect run0/kaiffin.safetensors",
)  # fmt: skip
PEAK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import start
print(json.dumps([start.high_water(), *start.peak(*sys.argv[2:])]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default="miniature")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--commands", default=",".join(COMMANDS), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="the system forgets the files first")
    kept.add_to(parser)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        started = starts(flags.commands.split(","), Path(scratch), flags.rounds)
    print(tables.turns(started, TORCH), end="\n\n")
    extra = excess(flags.base, flags.dtype)
    loaded = loads(flags.base, flags.dtype, flags.rounds, cold=flags.cold)
    print(tables.turns(loaded, "safetensors"), end="\n\n")
    print(f"{extra / 2**20:.0f} MiB above the weights at the peak of loading {flags.dtype}")
    found = {
        "dtype": flags.dtype, "cold": flags.cold, "excess": extra, "starts": started,
        "loads": loaded, "files": sum(file.stat().st_size for file in weight_files(flags.base)),
    }  # fmt: skip
    kept.keep(flags.keep, found)


def starts(commands: Sequence[str], folder: Path, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each command from nothing to its end, one value a round."""
    calls: dict[str, Callable[[], object]] = {TORCH: lambda: _run(["-c", TORCH], folder)}
    for command in commands:
        calls[command] = Numbered(command, folder)
    return interleaved(calls, rounds, torch.device("cpu"), calls=1, clock=_of_children)


def _of_children() -> float:
    """CPU seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Numbered:
    """A command of Kaiffin's, called again and again."""

    def __init__(self, command: str, folder: Path) -> None:
        self.command, self.folder, self.n = command, folder, 0

    def __call__(self) -> None:
        words = self.command.format(n=self.n).split()
        self.n += 1
        _run(["-m", "kaiffin", *words], self.folder)


def _run(words: Sequence[str], folder: Path) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def loads(base: str, dtype: str, rounds: int, *, cold: bool) -> dict[str, list[float]]:
    """Seconds in which safetensors and Kaiffin load the same weights: of the processor with files
    that are in memory already, by the clock with files that have to be read."""
    config = BaseConfig(name=base, device="cpu", dtype=dtype)
    runtime = Runtime.from_config(config)
    files = weight_files(base)
    calls: dict[str, Callable[[], object]] = {
        "safetensors": lambda: touch(
            [
                {name: tensor.to(DTYPES[dtype]) for name, tensor in load_file(file).items()}
                for file in files
            ]
        ),
        "kaiffin": lambda: touch(weights_of(load(config, runtime, tell=SILENT))),
    }
    if not cold:
        return interleaved(calls, rounds, runtime.device, calls=1, clock=time.process_time)

    times: dict[str, list[float]] = {name: [] for name in calls}
    for number, (name, call) in enumerate([*calls.items()] * (rounds + 1)):
        forget(files)
        begun = time.perf_counter()
        call()
        if number >= len(calls):  # before that, libraries are imported
            times[name].append(time.perf_counter() - begun)
    return times


def forget(files: Sequence[Path]) -> None:
    """The system's copies of `files` in memory, unless another program has them mapped."""
    gc.collect()
    for file in files:
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def weights_of(family: ModelFamily) -> list[dict[str, Tensor]]:
    return [dict(module.named_parameters()) for module in (*family.towers.values(), family.vae)]


def touch(weights: Sequence[Mapping[str, Tensor]]) -> None:
    """Reads from every page: what needs no cast would otherwise stay in the mapped file."""
    for tensor in (tensor for part in weights for tensor in part.values()):
        tensor.detach().flatten()[:: PAGE // tensor.element_size()].sum()


def weight_files(base: str) -> list[Path]:
    """The safetensors of what is loaded, of a folder that holds none twice."""
    located = resolve.locate(base, tell=SILENT)
    parts = [*SPECS[located.family].towers, "vae"]
    return [file for part in parts for file in sorted((located.path / part).glob("*.safetensors"))]


def excess(base: str, dtype: str) -> int:
    """Bytes by which a process that loads `base` grows beyond the weights in `dtype`."""
    told = _run(["-c", PEAK, str(Path(__file__).parent), base, dtype], Path.cwd())
    before, weights, peak = json.loads(told.splitlines()[-1])
    return peak - before - weights


def peak(base: str, dtype: str) -> tuple[int, int]:
    """Bytes of the weights, and of this process at its peak, after loading them."""
    config = BaseConfig(name=base, device="cpu", dtype=dtype)
    family = load(config, Runtime.from_config(config), tell=SILENT)
    touch(weights_of(family))
    weights = num_bytes([*family.towers.values(), family.vae])
    return weights, high_water()


def high_water() -> int:
    """Bytes of this process at its peak. Linux's own count: `getrusage` counts the parent, too."""
    (line,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024


if __name__ == "__main__":
    main()
