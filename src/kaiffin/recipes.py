"""The story pages: each command of Kaiffin as one function that reads top to bottom.

Recipes choose and connect; they hold no maths, no loop over training steps and no file format.
"""

from __future__ import annotations

import contextlib
import platform
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata as package
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kaiffin import __version__, card, sharing
from kaiffin import config as configs
from kaiffin import generate as pictures
from kaiffin.adapters import files, formats, writing
from kaiffin.adapters.load import full_modules, load_adapter, was_trained_on
from kaiffin.adapters.lora import Lora, LoraSpec
from kaiffin.adapters.proof import prove
from kaiffin.config import BaseConfig, Config, SampleConfig
from kaiffin.data import prepare as preparation
from kaiffin.data.dataset import Dataset
from kaiffin.data.images import open_photo, square_crop
from kaiffin.data.prepare import Example, Prepared
from kaiffin.data.sources import fill
from kaiffin.errors import ConfigError, PhotoError, RunError, UserError
from kaiffin.generate import AdapterRef, Request
from kaiffin.models import resolve
from kaiffin.models.base import ModelFamily
from kaiffin.models.load import load, read_text_facts
from kaiffin.models.proof import opened_by_others
from kaiffin.planning import Plan, print_plan
from kaiffin.presets import derive
from kaiffin.run import Run, free_name
from kaiffin.runtime import Runtime, choose_threads, make_deterministic
from kaiffin.sheets import sheet
from kaiffin.train.cache import TensorCache, content_key
from kaiffin.train.state import TrainState
from kaiffin.train.trainer import Trainer
from kaiffin.train.watch import Checkpoints, Metrics, Previews, ProgressBar, TensorBoard

console = Console(highlight=False, soft_wrap=True)


def prepare(config: Config, out: Path) -> Prepared:
    """Looks at every photo and writes a manifest and a contact sheet into `out`."""
    facts = read_text_facts(config.base.name)
    resolution = config.data.resolution or facts.native_size
    with _photo_progress() as progress:
        prepared = preparation.prepare(
            config.data, config.subject, resolution, pieces=facts.token_pieces,
            max_tokens=facts.max_tokens, out=out, progress=progress,
        )  # fmt: skip
    _say_findings(prepared)
    console.print(f"{len(prepared.examples)} photos at {resolution} px. Look at them:")
    console.print(f"  {out / 'contact_sheet.png'}")
    _refuse_problems(prepared)
    return prepared


def plan(config: Config) -> Plan:
    """Prints what `train` would do: weights, steps, epochs, memory and time; trains nothing."""
    session = _open(config, None)
    return _plan(session)


def train(config: Config, out: Path | None = None) -> Run:
    """Photos -> adapter: a new run folder at `out` (default: runs/<token>), trained to its end."""
    fill(config.data.template, config.subject)
    path = out or free_name(Path("runs") / re.sub(r"[^\w-]", "_", config.subject.token))
    run = Run.create(path, config)
    return _train(run)


def resume(path: Path) -> Run:
    """Goes on with an interrupted run; ends in the same file as if it had never stopped."""
    run = Run.open(path)
    if run.finished:
        console.print(f"{path} is finished: {run.adapter_path}")
        return run
    return _train(run)


def _train(run: Run) -> Run:
    with run.lock():
        run.clean()
        started = time.time()
        session = _open(run.config, run)
        run.save_config(session.config)
        _plan(session)
        _check_same_base(run, session.family)
        _write_manifest(run, session)
        trainer = _trainer(run, session)
        latest = run.latest_checkpoint()
        if latest:
            trainer.restore(TrainState.read(latest))
            console.print(f"going on after step {trainer.step}")
        trainer.fit()
        session.adapter.eject()
        with trainer.shown():
            _export(run, session)
        _prove(run, session)
        console.print(f"trained in {time.time() - started:.0f} s: {run.adapter_path}")
    return run


# --- a training session -----------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """All that a training is made of, before its first step."""

    config: Config
    runtime: Runtime
    family: ModelFamily
    prepared: Prepared
    adapter: Lora
    derived: list[str]


def _open(config: Config, run: Run | None) -> Session:
    """Loads the base, looks at the photos, derives what the config leaves open."""
    runtime = Runtime.from_config(config.base, config.train.precision)
    family = _load(config.base, runtime)
    resolution = config.data.resolution or family.native_size
    with _photo_progress() as progress:
        prepared = preparation.prepare(
            config.data, config.subject, resolution, pieces=family.token_pieces,
            max_tokens=family.max_tokens, out=run.folder("data") if run else None,
            progress=progress,
        )  # fmt: skip
    _say_findings(prepared)
    _refuse_problems(prepared)
    start = load_adapter(config.adapter.init_from, family) if config.adapter.init_from else None
    if start:
        config = _as_in_file(config, start)
    full, derived = derive(config, len(prepared.examples), family.native_size)
    adapter = start or _adapter(full, family)
    return Session(full, runtime, family, prepared, adapter, derived)


def _load(base: BaseConfig, runtime: Runtime) -> ModelFamily:
    """The base, and the process set up so that the same call gives the same bytes."""
    make_deterministic()
    family = load(base, runtime)
    choose_threads(family.native_size, family.device)
    return family


def _as_in_file(config: Config, start: Lora) -> Config:
    """The config of a training that goes on from `start`: its layers, ranks and alphas stay."""
    ranks = Counter(layer.rank for layer in start.layers.values())
    alphas = Counter(layer.alpha for layer in start.layers.values())
    found = {
        "rank": ranks.most_common(1)[0][0], "alpha": alphas.most_common(1)[0][0],
        "targets": "as in the file",
        "text_encoder": any(not name.startswith("unet.") for name in start.layers),
    }  # fmt: skip
    for name, value in found.items():
        given = getattr(config.adapter, name)
        if given not in (None, False, value):
            raise ConfigError(
                f"adapter.{name} = {given!r}: adapter.init_from goes on with the file's own, which"
                f" is {value!r}.",
                "Leave it out; `kaiffin adapter resize` makes a file of another rank.",
            )
    return configs.changed(config, **{f"adapter.{name}": value for name, value in found.items()})


def _adapter(config: Config, family: ModelFamily) -> Lora:
    modules = full_modules(family)
    a = config.adapter
    specs = {}
    for tower in family.towers:
        if tower == "unet":
            specs[tower] = LoraSpec(a.targets or "", a.rank or 1, a.alpha or 1.0, a.dropout)
        elif a.text_encoder:
            rank = a.text_rank or a.rank or 1
            alpha = (a.alpha or 1.0) * rank / (a.rank or 1)
            targets = (a.targets or "").removesuffix("+conv")  # text encoders have no convolution
            specs[tower] = LoraSpec(targets, rank, alpha, a.dropout)
    return Lora.create(specs, modules, config.train.seed)


def _plan(session: Session) -> Plan:
    found = Plan.of(session.config, session.family, session.adapter, len(session.prepared.examples))
    print_plan(found, session.derived, console)
    return found


def _trainer(run: Run, session: Session) -> Trainer:
    """The trainer with its listeners; the adapter is attached."""
    config, family = session.config, session.family
    prior = class_pictures(config, family, run)
    dataset = Dataset(session.prepared.examples, prior, config.data, config.train.seed)
    session.adapter.inject(full_modules(family))
    cache = TensorCache(run.folder("cache"))
    trainer = Trainer(family, session.adapter, dataset, config, session.runtime, cache)
    board = TensorBoard(run) if config.train.tensorboard else None
    every = config.sample.preview_every
    previews = [Previews(run, _previewer(session, trainer), every, board)] if every else []
    checkpoints = Checkpoints(run, trainer)
    # Checkpoints come last: what others write of a step is there when the step counts as done.
    listeners = [ProgressBar(console), Metrics(run), board, *previews, checkpoints]
    trainer.listeners = [listener for listener in listeners if listener]
    return trainer


def _previewer(session: Session, trainer: Trainer):
    """A function that makes the preview pictures with the adapter as it is now."""
    config = session.config
    prompts = [fill(p, config.subject) for p in config.sample.preview_prompts]
    requests = [_request(p, config.sample.preview_seed, config.sample) for p in prompts]

    def make() -> list[tuple[str, Image.Image]]:
        session.adapter.train(False)
        with trainer.shown():
            images = list(pictures.generate(session.family, requests))
        session.adapter.train(True)
        return list(zip(prompts, images, strict=True))

    return make


def class_pictures(config: Config, family: ModelFamily, run: Run) -> list[Example]:
    """Pictures of the class for prior preservation, made by the base itself; resumable.

    They lie in a folder named by everything that decides them, so that a changed prompt or base
    never meets old pictures.
    """
    prior, seed = config.data.prior, config.train.seed
    if not prior.weight:
        return []
    side = config.data.resolution or family.native_size
    prompt = prior.prompt or ""
    requests = [
        Request(prompt, seed + i, side, side, steps=prior.steps, guidance=prior.guidance)
        for i in range(prior.num_images)
    ]
    folder = run.folder("cache") / f"prior-{content_key(family.revision, requests[0])[:16]}"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{request.seed:06d}.png" for request in requests]
    todo = [i for i, path in enumerate(paths) if not path.is_file()]
    if todo:
        console.print(f'making {len(todo)} class pictures: "{prompt}"')
        made = pictures.generate(family, [requests[i] for i in todo], batch_size=8)
        with _progress("class pictures", len(todo)) as advance:
            for i, image in zip(todo, made, strict=True):
                pictures.save_png(image, paths[i])
                advance(1)
    crop = square_crop((side, side), side)
    return [
        Example(path, open_photo(path).sha256, (prompt,), crop, (side, side), "prior")
        for path in paths
    ]


def _export(run: Run, session: Session) -> None:
    """The adapter file, then its card: a run with an adapter file is a finished run."""
    config, family = session.config, session.family
    state = session.adapter.state()
    adapter = formats.from_state(state, family.name)
    tensors = writing.to_kohya(adapter, family.layers_per_block)
    a, resolution = config.adapter, config.data.resolution or family.native_size
    header = writing.metadata(
        family.name, rank=a.rank or 1, alpha=a.alpha or 1.0, title=config.subject.token,
        trigger=config.subject.phrase, resolution=(resolution, resolution),
        prediction_type=family.schedule.prediction_type, base_name=Path(family.base).name,
        base_revision=family.revision,
        facts={
            "steps": config.train.steps, "seed": config.train.seed,
            "optimizer": config.train.optimizer, "learning_rate": config.train.lr,
            "text_encoder_lr": config.train.text_lr,
            "num_train_images": len(session.prepared.examples),
            "batch_size_per_device": config.train.batch_size,
            "min_snr_gamma": config.train.objective.min_snr_gamma,
            "noise_offset": config.train.objective.noise_offset or None,
            "prior_loss_weight": config.data.prior.weight or None,
        },
    )  # fmt: skip
    run.write(card.NAME, card.text(run).encode())
    files.save(run.adapter_path, tensors, header)


def _prove(run: Run, session: Session) -> None:
    """Others' code must read the file to what was trained; the result stays in the run."""
    made = prove(run.adapter_path, session.family, opened_by_others)
    run.write_json("proof.json", made.as_json())
    sharing.say_proof(made, console)


def _check_same_base(run: Run, family: ModelFamily) -> None:
    before = run.read_json("manifest.json").get("base", {}).get("revision", family.revision)
    if before != family.revision:
        raise RunError(
            f"{run.path}: was begun on base weights {before[:10]}, and {family.base} is now"
            f" {family.revision[:10]}.",
            "Put the old weights back, or start a new run.",
        )


def _write_manifest(run: Run, session: Session) -> None:
    versions = {name: package.version(name) for name in ("torch", "diffusers", "transformers")}
    run.write_json(
        "manifest.json",
        {
            "kaiffin": __version__,
            "versions": versions | {"python": platform.python_version()},
            "base": {
                "name": session.family.base,
                "family": session.family.name,
                "revision": session.family.revision,
            },
            "trainable": sum(p.numel() for p in session.adapter.parameters()),
            "data": session.prepared.manifest["content"],
            "num_photos": len(session.prepared.examples),
            "refused": session.prepared.manifest["refused"],
            "derived": session.derived,
        },
    )


# --- generating -------------------------------------------------------------------------------


def generate(
    source: str, prompts: Sequence[str], *, count: int = 1, seed: int = 0,
    changes: Mapping[str, Any] | None = None, adapters: Sequence[str] = (), batch_size: int = 4,
    out: Path | None = None, metadata: bool = True,
) -> list[Path]:  # fmt: skip
    """Pictures of `prompts` with a run's adapter, or with a base alone; and a labelled sheet.

    source: a run folder, or a base's name, folder or file; adapters: further FILE[:WEIGHT].
    """
    run = Run.open(Path(source)) if (Path(source) / "config.yaml").is_file() else None
    config = run.config if run else Config(base=BaseConfig(name=source))
    config = configs.changed(config, **{"sample.size": None, **(changes or {})})
    stack = [parse_adapter(text) for text in adapters]
    if run:
        if not run.finished:
            raise RunError(f"{source}: is not finished.", f"Run `kaiffin resume {source}` first.")
        stack.insert(0, (run.adapter_path, 1.0))
    texts = [fill(prompt, config.subject) for prompt in prompts]
    family = _load(config.base, Runtime.from_config(config.base))
    sample = _with_size(config.sample, family)
    requests = [_request(text, seed + k, sample) for text in texts for k in range(count)]
    folder = out or (run.folder("images") if run else Path("images"))
    with _attached(family, stack) as refs:
        paths = _write_pictures(family, requests, refs, folder, batch_size, metadata)
    images = [Image.open(path) for path in paths]
    labels = [f"{request.prompt}  ·  seed {request.seed}" for request in requests]
    page = _new_name(folder, "sheet")
    pictures.save_png(sheet(images, labels, columns=count if count > 1 else None), page)
    console.print(f"{len(paths)} pictures in {folder}; all of them on {page}")
    return paths


def remake(picture: Path, out: Path, *, metadata: bool = True) -> Path:
    """Makes a picture again from the recipe inside it; names what is not as it was."""
    found = pictures.read_recipe(picture)
    request = Request(**found["request"])
    base = BaseConfig(name=found["base"]["name"])
    family = _load(base, Runtime.from_config(base))
    if family.revision != found["base"]["revision"]:
        raise UserError(
            f"{picture}: was made with base weights {found['base']['revision'][:10]};"
            f" {base.name} is now {family.revision[:10]}.",
            "Put those weights back.",
        )
    stack = []
    for entry in found["adapters"]:
        path = Path(entry["path"])
        if not path.is_file() or files.sha256(path) != entry["sha256"]:
            raise UserError(
                f"{picture}: its adapter {path} is missing or has changed.",
                f"It has SHA-256 {entry['sha256'][:12]}.",
            )
        stack.append((path, float(entry["weight"])))
    with _attached(family, stack) as refs:
        return _write_pictures(family, [request], refs, out, 1, metadata)[0]


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


def parse_adapter(text: str) -> tuple[Path, float]:
    """`FILE` or `FILE:WEIGHT`."""
    name, colon, weight = text.rpartition(":")
    if colon and re.fullmatch(r"[-+]?\d*\.?\d+", weight):
        return Path(name), float(weight)
    return Path(text), 1.0


def list_bases() -> None:
    """Prints the bases known by name and whether they are on this machine."""
    for name in ("miniature", *resolve.ALIASES):
        where = "inside Kaiffin" if name == "miniature" else resolve.ALIASES[name]
        here = "here" if resolve.is_here(name) else "not on this machine"
        console.print(f"{name:22} {where:46} {here}")


@contextlib.contextmanager
def _attached(
    family: ModelFamily, stack: Sequence[tuple[Path, float]]
) -> Iterator[list[AdapterRef]]:
    """The adapters of `stack` attached to the family while the block runs."""
    modules = full_modules(family)
    adapters, refs = [], []
    for path, weight in stack:
        adapter = load_adapter(path, family, weight)
        if not was_trained_on(path, family):
            console.print(f"note: {path.name} was trained on other weights than {family.base}")
        adapter.train(False)
        adapters.append(adapter)
        refs.append(AdapterRef(str(path), path.stem, files.sha256(path), weight))
    for adapter in adapters:
        adapter.inject(modules)
    try:
        yield refs
    finally:
        for adapter in adapters:
            adapter.eject()


def _write_pictures(
    family: ModelFamily, requests: Sequence[Request], refs: Sequence[AdapterRef], folder: Path,
    batch_size: int, metadata: bool,
) -> list[Path]:  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror}).", "Choose --out.") from None
    paths = []
    with _progress("generating", len(requests)) as advance:
        made = pictures.generate(family, requests, batch_size=batch_size)
        for request, image in zip(requests, made, strict=True):
            slug = re.sub(r"\W+", "-", request.prompt.lower()).strip("-")[:60] or "picture"
            path = _new_name(folder, f"{slug}-seed{request.seed}")
            recipe = pictures.recipe(request, family, refs) if metadata else None
            pictures.save_png(image, path, recipe)
            paths.append(path)
            advance(1)
    return paths


def _request(prompt: str, seed: int, sample: SampleConfig) -> Request:
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


# --- saying -----------------------------------------------------------------------------------


def _say_findings(prepared: Prepared) -> None:
    for note in prepared.notes:
        console.print(f"note: {note}")
    _say_some([f"refused: {name}: {reason}" for name, reason in prepared.refused], 20)
    groups: dict[str, list[str]] = defaultdict(list)  # one kind of finding has one way out
    for finding in prepared.findings:
        if finding.level != "info":
            groups[finding.fix].append(f"{finding.level}: {finding}")
    for lines in groups.values():
        _say_some(lines, 4)


def _say_some(lines: Sequence[str], limit: int) -> None:
    for line in lines[:limit]:
        console.print(line)
    if len(lines) > limit:
        console.print(f"  and {len(lines) - limit:,} more like it, all in manifest.json")


def _refuse_problems(prepared: Prepared) -> None:
    if not prepared.problems:
        return
    first, more = prepared.problems[0], len(prepared.problems) - 1
    raise PhotoError(
        first + (f" And {more} more." if more else ""),
        "Mend the photos, or leave them out with --skip-bad.",
    )


@contextlib.contextmanager
def _progress(text: str, total: int) -> Iterator[Any]:
    """A bar with time left on a terminal; silent elsewhere."""
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda amount: bar.advance(task, amount)


@contextlib.contextmanager
def _photo_progress() -> Iterator[Any]:
    columns = (TextColumn("photos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
