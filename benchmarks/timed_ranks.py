"""Ranks that depend on the timestep (T-LoRA), and what is left of them in other programs.

    python benchmarks/timed_ranks.py --out build/ranks
    python benchmarks/timed_ranks.py --out build/ranks --summary docs/measured/timed-ranks.json

Trainings as in teach.py, judged as there, in pairs with those whose ranks act at every timestep.
Each T-LoRA is judged three times: as it is, with all its ranks at every timestep, which is what
other programs make of its file, and as the plain file that is fitted to it for them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tables
import teach
from kept import keep
from torch import stack

from kaiffin.adapters import ranks
from kaiffin.adapters.files import safe
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.judges.truth import load_truth
from kaiffin.miniature.world import world
from kaiffin.models.files.load import load_base
from kaiffin.score import measures
from kaiffin.score.judge import Scorer
from kaiffin.stories import adapter, train

SUBJECTS = ("kaiffin", "plush", "zandor", "velmok")
# With ranks that depend on the timestep -> the same without.
AGAINST = {"T-LoRA 8 of 16": teach.PICTURES, "T-LoRA 8 of 16, no prior": "no prior"}
IGNORED, PLAIN = "all ranks", "plain file"


def measured(
    bench: teach.Bench, cell: teach.Cell, steps: int | None = None
) -> dict[str, dict[str, Any]]:
    """One training, judged at its end: by method, as it is and as other programs have it."""
    folder = bench.out / "photos" / f"{cell.subject}-{cell.photos}-{cell.seed}"
    layouts = stack([measures.layout(photo) for photo in teach.render_photos(folder, cell)])
    path = bench.out / "runs" / cell.name
    shutil.rmtree(path, ignore_errors=True)  # one that was cut off
    began = time.process_time()
    config = teach.config_of(cell, folder, steps, 1, teach.METHODS[cell.method])
    run = train.train(config, path, tell=SILENT).run
    own = {**asdict(cell), "cpu": time.process_time() - began}
    files = {cell.method: run.adapter_path}
    if cell.method in AGAINST:
        others = elsewhere(run.adapter_path, bench.out / "elsewhere" / cell.name)
        files |= {f"{cell.method}, {way}": file for way, file in others.items()}
    return {
        name: {**own, "method": name, "at": {"100": bench.judged(cell, file, layouts)}}
        for name, file in files.items()
    }


def elsewhere(whole: Path, folder: Path) -> dict[str, Path]:
    """The file as other programs read it, and the one that is fitted for them."""
    shutil.rmtree(folder, ignore_errors=True)
    tensors, header = safe.read(whole)
    files = {IGNORED: folder / "ignored.safetensors", PLAIN: folder / "plain.safetensors"}
    safe.save(files[IGNORED], tensors, {k: v for k, v in header.items() if k != ranks.HEADER})
    adapter.convert(whole, files[PLAIN], "kohya", plain=True)
    return files


def read(out: Path) -> Iterator[Mapping[str, Any]]:
    for path in sorted((out / "cells").glob("*.json")):
        yield from json.loads(path.read_text()).values()


def summary(out: Path) -> list[dict[str, Any]]:
    """As the bench's, each method with what it is against, where there are both."""
    found, rows = list(read(out)), []
    for timed, against in AGAINST.items():
        of = [one for one in found if one["method"] == against or _is(one["method"], timed)]
        both = {_cell(one) for one in of if one["method"] == timed}
        of = [one for one in of if _cell(one) in both]
        of.sort(key=lambda one, first=against: (one["photos"], one["method"] != first))
        rows += teach.summary(of, against)
    return rows


def _cell(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return one["subject"], one["photos"], one["seed"]


def _is(method: str, timed: str) -> bool:
    return method in (timed, *(f"{timed}, {way}" for way in (IGNORED, PLAIN)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    teach.add_cells(parser, Path("build/ranks"), SUBJECTS, (1,), (0, 1))
    parser.add_argument("--methods", nargs="+", default=[*AGAINST.values(), *AGAINST])
    parser.add_argument("--summary", type=Path, help="write the table, and train nothing")
    flags = parser.parse_args()
    if flags.summary:
        rows = summary(flags.out)
        keep(flags.summary, rows)
        print(tables.in_pairs(rows))
        return
    truth = load_truth(flags.truth or flags.out / "truth.safetensors", world.CAST)
    family = load_base(BaseConfig(), Runtime.from_config(BaseConfig()), tell=SILENT)
    bench = teach.Bench(flags.out, family, truth, Scorer(tell=SILENT))
    for cell in teach.cells(flags.subjects, flags.photos, flags.seeds, flags.methods):
        path = flags.out / "cells" / f"{cell.name}.json"
        if not path.is_file():
            found = measured(bench, cell)
            write_bytes(path, json.dumps(found).encode())
            print(cell.name, *(f"{one['at']['100']}" for one in found.values()), flush=True)


if __name__ == "__main__":
    main()
