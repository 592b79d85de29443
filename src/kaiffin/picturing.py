"""The story pages of generating: pictures with a base and a stack of adapters, and once more."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from kaiffin.generate import AdapterRef, OnStep, Request, Weigh
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


@dataclass(frozen=True)
class Task:
    """A picture that is wanted: what is asked, and all adapters on the base."""

    request: Request
    adapters: tuple[Wanted, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(one.path for one in self.adapters)

    def recipe(self, family: ModelFamily) -> dict[str, Any]:
        """All that is needed to make the picture again."""
        return pictures.recipe(self.request, family, [_reference(one) for one in self.adapters])


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


def open_source(source: str, changes: Mapping[str, Any] | None = None) -> tuple[Run | None, Config]:
    """The run at `source`, if it is one, and the configuration of pictures with it or the base."""
    run = Run.open(Path(source)) if (Path(source) / "config.yaml").is_file() else None
    config = run.config if run else Config(base=BaseConfig(name=source))
    return run, configs.changed(config, **{"sample.size": None, **(changes or {})})


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


def of_run(run: Run, blended: bool = False) -> list[Wanted]:
    """The run's adapter; to blend its phases, the file of each."""
    if not run.finished:
        raise RunError(f"{run.path}: is not finished.", f"Run `kaiffin resume {run.path}` first.")
    parts = [name for name in expand(run.config)[-1].attached if name]
    if blended and parts:
        return [Wanted(run.part_path(name)) for name in parts]
    return [Wanted(run.adapter_path)]


def checkpoint_of(run: Run | None, name: str) -> Path:
    """The adapter that `kaiffin choose` recommends (`best`), or the candidate of a step.

    Raises RunError where there is none, naming those there are.
    """
    if run is None:
        raise RunError("--checkpoint is of a run, and none is named.", "Name a run folder.")
    if name == "best":
        if not run.best_path.is_file():
            raise RunError(
                f"{run.path}: nothing is chosen yet.", f"Run `kaiffin choose {run.path}` first."
            )
        return run.best_path
    found = {str(step): path for step, path in run.candidates()}
    if name not in found:
        there = ", ".join(found) or "none"
        raise RunError(f"{run.path}: has no candidate {name!r}.", f"There are best and: {there}.")
    return found[name]


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


def _blended(wanted: Sequence[Wanted], blend: float) -> tuple[Wanted, ...]:
    """1 - `blend` of the first of two adapters, and `blend` of the second."""
    pairs = zip(wanted, (1.0 - blend, blend), strict=True)
    return tuple(replace(one, weights=one.weights.times(factor)) for one, factor in pairs)


def _reference(one: Wanted) -> AdapterRef:
    """The adapter as a recipe names it."""
    number = one.weights.number
    weight = str(one.weights) if number is None else number
    return AdapterRef(str(one.path), one.path.stem, file_sha256(one.path), weight)


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
    return _write_pictures(family, [Task(wanted_request, tuple(wanted))], out, 1, metadata)[0]


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
        raise ConfigError(f"{file}: cannot be read as prompts: {error}.") from None
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


def make(
    family: ModelFamily, tasks: Sequence[Task], batch_size: int = 4, on_step: OnStep | None = None
) -> Iterator[tuple[int, Image.Image]]:
    """Yields (place in `tasks`, picture), each adapter loaded once, equal settings together.

    In the order of `tasks` where all have the same adapters and settings. on_step: as `generate`
    of pictures has it.
    """
    for of_files in _grouped(range(len(tasks)), lambda i: tasks[i].files):
        with _attached(family, tasks[of_files[0]].adapters) as stacks:
            for alike in _grouped(of_files, lambda i: _setting(tasks[i])):
                for one, stack in zip(tasks[alike[0]].adapters, stacks, strict=True):
                    stack.weights = one.weights
                requests = [tasks[i].request for i in alike]
                made = pictures.generate(
                    family, requests, batch_size=batch_size, on_step=on_step, weigh=_weigh(stacks)
                )
                yield from zip(alike, made, strict=True)


def _setting(task: Task) -> Hashable:
    """Equal for pictures that can be computed together."""
    weights = tuple(one.weights for one in task.adapters)
    return weights, tuple(pictures.settings(task.request).items())


def _grouped(places: Sequence[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """The places with equal keys together, in order of their first."""
    found: dict[Hashable, list[int]] = {}
    for place in places:
        found.setdefault(key(place), []).append(place)
    return list(found.values())


def _weigh(stacks: Sequence[Stack]) -> Weigh:
    def weigh(progress: float) -> None:
        for stack in stacks:
            stack.weigh(progress)

    return weigh


def _write_pictures(
    family: ModelFamily, tasks: Sequence[Task], folder: Path, batch_size: int, metadata: bool
) -> list[Path]:
    """Where the pictures of `tasks` are, in their order."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror}).", "Choose --out.") from None
    paths = {}
    with saying.progress("generating", len(tasks)) as advance:
        for place, image in make(family, tasks, batch_size):
            one = tasks[place].request
            paths[place] = _new_name(folder, f"{slug(one.prompt)}-seed{one.seed}")
            pictures.save_png(
                image, paths[place], tasks[place].recipe(family) if metadata else None
            )
            advance(1)
    return [paths[place] for place in range(len(tasks))]


def slug(prompt: str) -> str:
    """The prompt as a file may be called."""
    return re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60] or "picture"


def request(prompt: str, seed: int, sample: SampleConfig) -> Request:
    """One picture as `sample` says; its size may still be open."""
    width, height = sample.size or (0, 0)
    return Request(
        prompt, seed, width, height, sample.negative, sample.steps, sample.guidance,
        sample.sampler, sample.eta, sample.clip_skip,
    )  # fmt: skip


def with_size(sample: SampleConfig, family: ModelFamily) -> SampleConfig:
    side = family.native_size
    return sample if sample.size else sample.model_copy(update={"size": (side, side)})


def _new_name(folder: Path, stem: str) -> Path:
    """The first free of stem.png, stem-2.png, ...: no picture is ever overwritten."""
    path, number = folder / f"{stem}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.png"
    return path
