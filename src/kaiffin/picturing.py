"""The story pages of generating: pictures with a base and a stack of adapters, and once more."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin import config as configs
from kaiffin import generate as pictures
from kaiffin import saying
from kaiffin.adapters import files, weights
from kaiffin.adapters.load import load_adapter, was_trained_on
from kaiffin.adapters.stack import Stack
from kaiffin.adapters.weights import PLAIN, Weights
from kaiffin.config import BaseConfig, Config, SampleConfig
from kaiffin.data.sources import fill
from kaiffin.errors import AdapterError, ConfigError, RunError, UserError
from kaiffin.generate import AdapterRef, Request
from kaiffin.models.base import ModelFamily
from kaiffin.models.parts import file_sha256
from kaiffin.phases import expand
from kaiffin.run import Run
from kaiffin.runtime import Runtime
from kaiffin.saying import console
from kaiffin.sessions import load_base
from kaiffin.sheets import sheet


@dataclass(frozen=True)
class Wanted:
    """An adapter file and how strong it is to be."""

    path: Path
    weights: Weights = PLAIN


def generate(
    source: str, prompts: Sequence[str], *, count: int = 1, seed: int = 0,
    changes: Mapping[str, Any] | None = None, adapters: Sequence[str] = (),
    blends: Sequence[float] = (), batch_size: int = 4, out: Path | None = None,
    metadata: bool = True,
) -> list[Path]:  # fmt: skip
    """Pictures of `prompts` with a run's adapter, or with a base alone; and a labelled sheet.

    source: a run folder, or a base's name, folder or file; adapters: further FILE[:WEIGHTS];
    blends: with two adapters, each w gives pictures of (1 - w) of the first and w of the second.
    """
    run = Run.open(Path(source)) if (Path(source) / "config.yaml").is_file() else None
    config = run.config if run else Config(base=BaseConfig(name=source))
    config = configs.changed(config, **{"sample.size": None, **(changes or {})})
    wanted = [*(_of_run(run, bool(blends)) if run else []), *map(parse_adapter, adapters)]
    _refuse_unclear(wanted, blends)
    texts = [fill(prompt, config.subject) for prompt in prompts]
    family = load_base(config.base, Runtime.from_config(config.base))
    sample = _with_size(config.sample, family)
    requests = [request(text, seed + k, sample) for text in texts for k in range(count)]
    folder = out or (run.folder("images") if run else Path("images"))
    paths: list[Path] = []
    labels: list[str] = []
    with _attached(family, wanted) as stacks:
        for blend in blends or [None]:
            refs = _blended(wanted, stacks, blend)
            paths += _write_pictures(family, requests, stacks, refs, folder, batch_size, metadata)
            mark = "" if blend is None else f"  ·  blend {blend:g}"
            labels += [f"{r.prompt}  ·  seed {r.seed}{mark}" for r in requests]
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
    pictures.save_png(sheet(images, [labels[i] for i in order], columns=columns), page)


def _of_run(run: Run, blended: bool) -> list[Wanted]:
    """The run's adapter; to blend its phases, the file of each."""
    if not run.finished:
        raise RunError(f"{run.path}: is not finished.", f"Run `kaiffin resume {run.path}` first.")
    parts = [name for name in expand(run.config)[-1].attached if name]
    if blended and parts:
        return [Wanted(run.part_path(name)) for name in parts]
    return [Wanted(run.adapter_path)]


def _refuse_unclear(wanted: Sequence[Wanted], blends: Sequence[float]) -> None:
    """Blends of another number than two, and two subjects that go by one name."""
    if blends and len(wanted) != 2:
        raise ConfigError(
            f"--blend mixes two adapters, and {len(wanted)} are given.",
            "Name a run with two phases, or two adapters.",
        )
    seen: dict[str, tuple[Path, str]] = {}
    for path in [] if blends else [one.path for one in wanted]:
        header = files.header(path)[1]
        trigger, run = header.get("modelspec.trigger_phrase", ""), header.get("kaiffin.run", "")
        before, of_run = seen.get(trigger, (path, run))
        if trigger and before != path and not (run and run == of_run):
            raise AdapterError(
                f"{before} and {path} are both called by {trigger!r} (modelspec.trigger_phrase).",
                "Mix them with --blend 0.5, or train one with another --subject.",
            )
        seen.setdefault(trigger, (path, run))


def _blended(
    wanted: Sequence[Wanted], stacks: Sequence[Stack], blend: float | None
) -> list[AdapterRef]:
    """Sets the weights of the stacks; the adapters as a recipe names them."""
    factors = [1.0] * len(wanted) if blend is None else [1.0 - blend, blend]
    refs = []
    for one, stack, factor in zip(wanted, stacks, factors, strict=True):
        stack.weights = one.weights.times(factor)
        number, sha256 = stack.weights.number, file_sha256(one.path)
        weight = str(stack.weights) if number is None else number
        refs.append(AdapterRef(str(one.path), one.path.stem, sha256, weight))
    return refs


def remake(picture: Path, out: Path, *, metadata: bool = True) -> Path:
    """Makes a picture again from the recipe inside it; names what is not as it was."""
    found = pictures.read_recipe(picture)
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
        wanted.append(Wanted(path, weights.parse(str(entry["weight"]))))
    with _attached(family, wanted) as stacks:
        refs = _blended(wanted, stacks, None)
        return _write_pictures(family, [wanted_request], stacks, refs, out, 1, metadata)[0]


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompt, or the lines of a file; an empty line is an error that names it."""
    if (prompt is None) == (file is None):
        raise ConfigError(
            "give one prompt, or a file of prompts.", 'As in "a photo of kaiffin" or --prompts F.'
        )
    if file is None:
        return [prompt or ""]
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--prompts {file}: cannot be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise ConfigError(f"{file} line {number}: is empty.", "Remove it or write a prompt.")
    if not lines:
        raise ConfigError(f"{file}: holds no prompts.", "Write one a line.")
    return [line.strip() for line in lines]


def parse_adapter(text: str) -> Wanted:
    """`FILE` or `FILE:WEIGHTS`, as `adapters.weights` reads them."""
    name, colon, given = text.rpartition(":")
    if colon and weights.is_weights(given):
        return Wanted(Path(name), weights.parse(given))
    return Wanted(Path(text))


@contextlib.contextmanager
def _attached(family: ModelFamily, wanted: Sequence[Wanted]) -> Iterator[list[Stack]]:
    """The adapters attached to the family while the block runs."""
    stacks: list[Stack] = []
    for one in wanted:
        stack = load_adapter(one.path, family, one.weights)
        if not was_trained_on(one.path, family):
            console.print(f"note: {one.path.name} was trained on other weights than {family.base}")
        stack.train(False)
        stacks.append(stack)
    try:
        for one, stack in zip(wanted, stacks, strict=True):
            try:
                stack.inject(family)
            except AdapterError as error:
                raise AdapterError(f"{one.path}: {error.message}", error.fix) from None
        yield stacks
    finally:
        for stack in stacks:
            stack.eject()


def _write_pictures(
    family: ModelFamily, requests: Sequence[Request], stacks: Sequence[Stack],
    refs: Sequence[AdapterRef], folder: Path, batch_size: int, metadata: bool,
) -> list[Path]:  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror}).", "Choose --out.") from None
    paths = []

    def weigh(progress: float) -> None:
        for stack in stacks:
            stack.weigh(progress)

    with saying.progress("generating", len(requests)) as advance:
        made = pictures.generate(family, requests, batch_size=batch_size, weigh=weigh)
        for one, image in zip(requests, made, strict=True):
            slug = re.sub(r"\W+", "-", one.prompt.lower()).strip("-")[:60] or "picture"
            path = _new_name(folder, f"{slug}-seed{one.seed}")
            recipe = pictures.recipe(one, family, refs) if metadata else None
            pictures.save_png(image, path, recipe)
            paths.append(path)
            advance(1)
    return paths


def request(prompt: str, seed: int, sample: SampleConfig) -> Request:
    """One picture as `sample` says; its size may still be open."""
    width, height = sample.size or (0, 0)
    return Request(
        prompt, seed, width, height, sample.negative, sample.steps, sample.guidance,
        sample.sampler, sample.eta, sample.clip_skip,
    )  # fmt: skip


def _with_size(sample: SampleConfig, family: ModelFamily) -> SampleConfig:
    side = family.native_size
    return sample if sample.size else sample.model_copy(update={"size": (side, side)})


def _new_name(folder: Path, stem: str) -> Path:
    """The first free of stem.png, stem-2.png, ...: no picture is ever overwritten."""
    path, number = folder / f"{stem}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.png"
    return path
