"""The story pages of generating: pictures with a base and a stack of adapters, and once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.adapters import strength
from kaiffin.adapters.files import safe
from kaiffin.foundation import tell
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import AdapterError, ConfigError, RunError, UserError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.runtime import Runtime
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.subject import fill
from kaiffin.foundation.tell import console
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.load import load_base
from kaiffin.pictures.make import Task, Wanted, make, parse_adapter
from kaiffin.pictures.recipe import read_recipe, save_png
from kaiffin.pictures.request import Request, request, slug, with_size
from kaiffin.pictures.source import checkpoint_of, of_run, open_source


def generate(
    source: str, prompts: Sequence[str], *, count: int = 1, seed: int = 0,
    changes: Mapping[str, Any] | None = None, adapters: Sequence[str] = (),
    blends: Sequence[float] = (), batch_size: int = 4, out: Path | None = None,
    metadata: bool = True, checkpoint: str | None = None,
) -> list[Path]:  # fmt: skip
    """Pictures of `prompts` with a run's adapter, or with a base alone; and a labelled sheet.

    source: a run folder, or a base's name, folder or file; adapters: further FILE[:WEIGHTS];
    checkpoint: of the run, as `checkpoint_of` has it;
    blends: with two adapters, each w gives pictures of (1 - w) of the first and w of the second.
    """
    run, config = open_source(source, changes)
    if checkpoint:
        own = [Wanted(checkpoint_of(run, checkpoint))]
    else:
        own = of_run(run, bool(blends)) if run else []
    wanted = [*own, *map(parse_adapter, adapters)]
    _refuse_unclear(wanted, blends)
    texts = [fill(prompt, config.subject) for prompt in prompts]
    family = load_base(config.base, Runtime.from_config(config.base))
    sample = with_size(config.sample, family)
    requests = [request(text, seed + k, sample) for text in texts for k in range(count)]
    folder = out or (run.folder("images") if run else Path("images"))
    mixes = [_blended(wanted, blend) for blend in blends] or [tuple(wanted)]
    tasks = [Task(one, mix) for mix in mixes for one in requests]
    paths = _write_pictures(family, tasks, folder, batch_size, metadata)
    marks = [f"  ·  blend {blend:g}" for blend in blends] or [""]
    labels = [f"{r.prompt}  ·  seed {r.seed}{mark}" for mark in marks for r in requests]
    page = _new_name(folder, "sheet")
    _write_sheet(page, paths, labels, len(blends), count)
    console.print(f"{len(paths)} pictures in {folder}; all of them on {page}")
    return paths


def _write_sheet(
    page: Path, paths: Sequence[Path], labels: Sequence[str], blends: int, count: int
) -> None:
    """A row for each picture's recipe with a column for each blend, or rows of seeds."""
    order, columns = list(range(len(paths))), count if count > 1 else None
    if blends > 1:
        order = [i for k in range(len(paths) // blends) for i in order[k :: len(paths) // blends]]
        columns = blends
    images = [Image.open(paths[i]) for i in order]
    save_png(sheet(images, [labels[i] for i in order], columns=columns), page)


def _refuse_unclear(wanted: Sequence[Wanted], blends: Sequence[float]) -> None:
    """Blends of another number than two, and two subjects that go by one name."""
    if blends and len(wanted) != 2:
        raise ConfigError(
            f"--blend mixes two adapters, and {len(wanted)} are given.",
            "Name a run with two phases, or two adapters.",
        )
    seen: dict[str, tuple[Path, str]] = {}
    for path in [] if blends else [one.path for one in wanted]:
        header = safe.header(path)[1]
        trigger, run = header.get("modelspec.trigger_phrase", ""), header.get("kaiffin.run", "")
        before, of_run = seen.get(trigger, (path, run))
        if trigger and before != path and not (run and run == of_run):
            raise AdapterError(
                f"{before} and {path} are both called by {trigger!r} (modelspec.trigger_phrase).",
                "Mix them with --blend 0.5, or train one with another --subject.",
            )
        seen.setdefault(trigger, (path, run))


def _blended(wanted: Sequence[Wanted], blend: float) -> tuple[Wanted, ...]:
    """1 - `blend` of the first of two adapters, and `blend` of the second."""
    pairs = zip(wanted, (1.0 - blend, blend), strict=True)
    return tuple(replace(one, weights=one.weights.times(factor)) for one, factor in pairs)


def remake(picture: Path, out: Path, *, metadata: bool = True) -> Path:
    """Makes a picture again from the recipe inside it; names what is not as it was."""
    found = read_recipe(picture)
    wanted_request = Request(**found["request"])
    base = BaseConfig(name=found["base"]["name"], quantize=found["base"].get("quantize", "none"))
    family = load_base(base, Runtime.from_config(base))
    if family.revision != found["base"]["revision"]:
        raise UserError(
            f"{picture}: was made with base weights {found['base']['revision'][:10]};"
            f" {base.name} is now {family.revision[:10]}.",
            "Put those weights back.",
        )
    wanted = []
    for entry in found["adapters"]:
        path = Path(entry["path"])
        if not path.is_file() or file_sha256(path) != entry["sha256"]:
            raise UserError(
                f"{picture}: its adapter {path} is missing or has changed.",
                f"It has SHA-256 {entry['sha256'][:12]}.",
            )
        wanted.append(Wanted(path, strength.parse(str(entry["weight"]))))
    return _write_pictures(family, [Task(wanted_request, tuple(wanted))], out, 1, metadata)[0]


def _write_pictures(
    family: ModelFamily, tasks: Sequence[Task], folder: Path, batch_size: int, metadata: bool
) -> list[Path]:
    """Where the pictures of `tasks` are, in their order."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror}).", "Choose --out.") from None
    paths = {}
    with tell.progress("generating", len(tasks)) as advance:
        for place, image in make(family, tasks, batch_size):
            one = tasks[place].request
            paths[place] = _new_name(folder, f"{slug(one.prompt)}-seed{one.seed}")
            save_png(image, paths[place], tasks[place].recipe(family) if metadata else None)
            advance(1)
    return [paths[place] for place in range(len(tasks))]


def _new_name(folder: Path, stem: str) -> Path:
    """The first free of stem.png, stem-2.png, ...: no picture is ever overwritten."""
    path, number = folder / f"{stem}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.png"
    return path
