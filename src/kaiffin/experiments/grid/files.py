"""What a grid leaves in its folder: the table as json and csv, and the pages of the sheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.experiments.grid.axes import Grid
from kaiffin.experiments.grid.effects import GridScores
from kaiffin.foundation.folder import write_bytes
from kaiffin.foundation.sheets import Block, pages
from kaiffin.foundation.text import counted
from kaiffin.pictures.recipe import save_png


@dataclass(frozen=True)
class GridFiles:
    """The pages of the sheet (PNG), and the same as tables, with scores."""

    sheets: tuple[Path, ...]
    csv: Path
    json: Path


def write(
    folder: Path, source: str, grid: Grid, paths: Sequence[Path], scored: GridScores
) -> GridFiles:
    """The sheet and the tables of the pictures at `paths`; another grid's files there stay."""
    rows = _rows(folder, grid, paths)
    facts: dict[str, Any] = {
        "version": 1,
        "source": source,
        "axes": {
            letter: {"name": axis.name, "values": [value.shown for value in axis.values]}
            for letter, axis in grid.used.items()
        },
        "judged": scored.words,
    }
    stem = _free_stem(folder, facts, rows)
    for i, row in enumerate(rows):
        row |= {name: round(numbers[i], 6) for name, numbers in scored.scores.items()}
    found = {name: [asdict(one) for one in values] for name, values in scored.effects.items()}
    text = json.dumps(facts | {"pictures": rows, "effects": found}, indent=1, ensure_ascii=False)
    files = folder / f"{stem}.json", folder / f"{stem}.csv"
    write_bytes(files[0], (text + "\n").encode())
    write_bytes(files[1], _csv(rows))
    sheets: list[Path] = []
    for page in _pages(source, grid, paths):
        sheets.append(folder / (f"{stem}-page{len(sheets) + 1}.png" if sheets else f"{stem}.png"))
        save_png(page, sheets[-1])
    return GridFiles(tuple(sheets), csv=files[1], json=files[0])


def _rows(folder: Path, grid: Grid, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """A row for each picture: file, prompt, seed, and its value on each axis."""
    found = []
    for cell, path in zip(grid.cells, paths, strict=True):
        file = path.relative_to(folder).as_posix()
        row: dict[str, Any] = {
            "file": file, "prompt": cell.setting.prompt, "seed": cell.setting.seed,
        }  # fmt: skip
        for letter, place in zip("zyx", cell.places[:3], strict=True):
            axis = grid.axes[letter]
            row |= {axis.name: axis.values[place].shown} if axis.name else {}
        found.append(row)
    return found


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def _free_stem(folder: Path, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The first of grid, grid-2, ... that is free, or that is this very grid."""
    stem, number = "grid", 1
    while (folder / f"{stem}.json").is_file():
        if _is_same(folder / f"{stem}.json", facts, rows):
            return stem
        number += 1
        stem = f"grid-{number}"
    return stem


def _is_same(path: Path, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the file tells of the same pictures at the same places, by the same judges."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        files = [row["file"] for row in before["pictures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    same = all(before.get(name) == value for name, value in facts.items() if name != "source")
    return same and files == [row["file"] for row in rows]


def _pages(source: str, grid: Grid, paths: Sequence[Path]) -> Iterator[Image.Image]:
    """The first picture of each cell, with what all have in common on top."""
    depth, height, width, count = grid.shape
    firsts = iter(paths[::count])
    blocks = [
        Block(
            [[next(firsts) for _ in range(width)] for _ in range(height)],
            [value.title for value in grid.axes["y"].values],
            grid.axes["z"].values[z].title,
        )
        for z in range(depth)
    ]
    titles = [value.title for value in grid.axes["x"].values]
    title = grid.start.prompt or Path(source).name
    return pages(blocks, titles, title=title, subtitle=_common(source, grid))


def _common(source: str, grid: Grid) -> str:
    """What no axis changes, in a line."""
    start, names = grid.start, {axis.name for axis in grid.used.values()}
    said = {
        "seed": f"seed {start.seed}",
        "steps": counted(start.sample.steps, "step"),
        "guidance": f"guidance {start.sample.guidance:g}",
        "sampler": start.sample.sampler,
        "negative": start.sample.negative and f"negative {start.sample.negative}",
    }
    own = (text for name, text in said.items() if text and name not in names)
    parts = [Path(source).name, *own]
    if grid.count > 1:
        parts.append(f"the first of {grid.count} pictures each")
    return "  ·  ".join(parts)
