"""`kaiffin generate`: pictures with a base and a stack of adapters, the best of them, and one
picture once more from its own recipe."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.adapters import strength
from kaiffin.adapters.files.open import peek
from kaiffin.adapters.files.subject import triggers
from kaiffin.foundation.config import BaseConfig, Config
from kaiffin.foundation.errors import AdapterError, ConfigError, UserError
from kaiffin.foundation.folder import explained
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime, contained, within_memory
from kaiffin.foundation.schema import Together
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT, Once, Tell
from kaiffin.foundation.text import counted
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.load import load_base
from kaiffin.pictures import canvas
from kaiffin.pictures.batches import open_batches
from kaiffin.pictures.few import NONE, Few, few_steps
from kaiffin.pictures.make import Embedding, Task, WeightedAdapter, make, parse_adapter
from kaiffin.pictures.named import Library
from kaiffin.pictures.recipe import read_recipe, save_png
from kaiffin.pictures.regions import described, regions_of, shares, subjects_of
from kaiffin.pictures.regions import read as read_regions
from kaiffin.pictures.request import Request, remarks, request, slug
from kaiffin.pictures.said import Reader, Said, refuse_twice
from kaiffin.pictures.source import checkpoint_of, find_adapter, of_run, open_source
from kaiffin.pictures.start import Start
from kaiffin.score.judge import MINIATURE
from kaiffin.score.panel import Panel, open_panel
from kaiffin.score.photos import subject_photos
from kaiffin.stories.rank import Ranking, ranking
from kaiffin.stories.ways import called, closer_to, seeds, sized, smaller, with_photos


@dataclass(frozen=True)
class Order:
    """Which pictures are wanted, of what, and where they go.

    source: a run folder, or a base's name, folder or file; prompts: {token} and {noun} are filled
    in, of the run, or as the first adapter's header has them; count: pictures of each, on the seeds
    `seed`, seed + 1, ...; adapters: further FILE[:WEIGHTS]; blends: with two adapters, each w gives
    pictures of (1 - w) of the first and w of the second; checkpoint: of the run, as `checkpoint_of`
    has it; best: how many of each prompt's are chosen, None for no choice; out: default images in
    the run or here; metadata: whether each picture carries its recipe; embeddings: files of textual
    inversion; skip_unknown: whether to go on without what adapter files hold and Kaiffin does not
    apply; strength: of the run's own adapter; library: the adapters (<lora:NAME:0.8>) and
    embeddings that prompts may name, None where they may name none; regions: where each adapter
    acts, `columns`, `rows`, or WORD=LEFT,TOP,RIGHT,BOTTOM for each; none, where all act everywhere;
    start: another way in than noise; of one that varies, `count` are neighbours of `seed` on the
    seeds from its `vary_seed` on.
    """

    source: str
    prompts: Sequence[str]
    count: int = 1
    seed: int = 0
    adapters: Sequence[str] = ()
    blends: Sequence[float] = ()
    checkpoint: str | None = None
    best: int | None = None
    batch_size: Together = 4
    out: Path | None = None
    metadata: bool = True
    embeddings: Sequence[Path] = ()
    skip_unknown: bool = False
    strength: float = 1.0
    library: Library | None = None
    regions: Sequence[str] = ()
    start: Start | None = None


@dataclass(frozen=True)
class Picture:
    """A picture on the disk. recipe: all that is needed to make it again, whether or not the file
    carries it."""

    path: Path
    request: Request
    recipe: Mapping[str, Any]


@dataclass(frozen=True)
class Pictures(Shown):
    """Blends outside, then prompts, then seeds. sheet: all of them with labels (PNG); rankings: one
    for each prompt, where the best were asked for."""

    pictures: tuple[Picture, ...]
    folder: Path
    sheet: Path
    rankings: tuple[Ranking, ...] = ()

    @property
    def paths(self) -> list[Path]:
        return [picture.path for picture in self.pictures]


@contained()
def generate(
    order: Order, *, changes: Mapping[str, Any] | None = None, tell: Tell = SILENT
) -> Pictures:
    """Makes the pictures with a run's adapter, or with a base alone, and a labelled sheet.

    changes: of `sample`, `base` and `score`, such as {"sample.steps": 30}; what they leave open is
    as in the run. Raises UserError for what cannot be made or judged, before anything is made.
    """
    opened = open_order(order, changes, tell=tell)
    run, config = opened.run, opened.config
    panel = _open_panel(order, opened, tell)
    family = load_base(config.base, Runtime.from_config(config.base), tell)
    tasks = tasks_of(order, opened, family, tell=tell)
    folder = order.out or (run.images if run else Path("images"))
    images = make(family, tasks, open_batches(order.batch_size, tell), tell=tell)
    fix = smaller(tasks[0].request, order.batch_size)
    made = _write_pictures(family, tasks, images, folder, order.metadata, fix, tell)
    page = _new_name(folder, "sheet")
    _write_sheet(page, made, order)
    rankings = _rank(panel, made, opened, order, tell) if panel else ()
    return Pictures(tuple(made), folder, page, rankings)


@dataclass(frozen=True)
class Opened:
    """An order, understood: the run it is of, the configuration with its changes, the adapters of
    all pictures, what few steps make of them, and the prompts."""

    run: Run | None
    config: Config
    adapters: tuple[WeightedAdapter, ...]
    prompts: tuple[Said, ...]
    few: Few = NONE


def open_order(
    order: Order, changes: Mapping[str, Any] | None = None, *, tell: Tell = SILENT
) -> Opened:
    """Reads what an order names; as `generate`, but for the base, which is not loaded."""
    run, config = open_source(order.source, changes, tell=tell)
    config, few = few_steps(config, changes, skip_unknown=order.skip_unknown, tell=tell)
    canvas.refuse_unusable(order.start)
    adapters = _adapters(replace(order, strength=few.lift * order.strength), run)
    worn, once = [one.path for one in adapters], Once(tell)
    if not order.blends:
        refuse_twice([*worn, *(one.path for one in few.worn)])
    reader = Reader(config.sample, order.library, config.everyone if run else (), worn, once)
    read = (reader.read(prompt, order.embeddings) for prompt in order.prompts)
    prompts = tuple(_in_regions(order, said, worn, tell) for said in read)
    told = [text for one in prompts for text in one.told]
    for remark in remarks(request(text, order.seed, config.sample) for text in told):
        tell.note(remark)
    return Opened(run, config, tuple(adapters), prompts, few)


def _in_regions(order: Order, said: Said, worn: Sequence[Path], tell: Tell) -> Said:
    """What each region of a prompt is told is said; as it was where none were asked for."""
    if not order.regions:
        return said
    if order.blends:
        raise ConfigError("--region and --blend do not go together.", "Give one of them.")
    if order.start and order.start.is_closer:
        raise ConfigError(
            "--region and a second pass over a part do not go together.", "Give one of them."
        )
    worn = [*worn, *(one.path for one in said.adapters)]
    found = tuple(regions_of(order.regions, said.text, subjects_of(worn, order.regions)))
    for line in described(found, worn):
        tell.note(f"note: {line}")
    return replace(said, regions=found)


def tasks_of(
    order: Order, opened: Opened, family: ModelFamily, *, tell: Tell = SILENT
) -> list[Task]:
    """Every picture of an order: blends outside, then prompts, then seeds."""
    sample, start = sized(opened.config.sample, order.start, family, tell)
    for one in opened.prompts if order.regions else ():
        picture = request(one.text, order.seed, sample)
        shares(one.regions, picture.height // family.downscale, picture.width // family.downscale)
    mixes = [_blended(opened.adapters, blend) for blend in order.blends] or [opened.adapters]
    words = tuple(map(Embedding, order.embeddings))
    return [
        Task(
            closer_to(request(one.text, seed, sample, way), one.subjects[0], family),
            (*mix, *one.adapters, *opened.few.worn),
            (*words, *one.embeddings),
            one.regions,
        )
        for mix in mixes
        for one in opened.prompts
        for seed, way in seeds(order.seed, order.count, start)
    ]


def _adapters(order: Order, run: Run | None) -> list[WeightedAdapter]:
    """The run's own, and those that are named; ConfigError for what cannot be told apart."""
    if order.checkpoint:
        own = [WeightedAdapter(checkpoint_of(run, order.checkpoint))]
    else:
        own = of_run(run, bool(order.blends)) if run else []
    own = [replace(one, weights=one.weights.times(order.strength)) for one in own]
    adapters = [*own, *map(parse_adapter, order.adapters)]
    adapters = [replace(one, skip_unknown=order.skip_unknown) for one in adapters]
    _refuse_unclear(adapters, order.blends)
    return adapters


def _refuse_unclear(adapters: Sequence[WeightedAdapter], blends: Sequence[float]) -> None:
    """Blends of another number than two, and two subjects that go by one name."""
    if blends and len(adapters) != 2:
        raise ConfigError(
            f"--blend mixes two adapters, and {len(adapters)} are given.",
            "Name a run with two phases, or two adapters.",
        )
    known: dict[str, tuple[Path, str]] = {}
    for path in [] if blends else [one.path for one in adapters]:
        header = peek(path)[1]
        run = header.get("kaiffin.run", "")
        for trigger in filter(None, triggers(header)):
            before, of_run = known.get(trigger, (path, run))
            if before != path and not (run and run == of_run):
                raise AdapterError(
                    f"{before} and {path} are both called by {trigger!r}"
                    " (modelspec.trigger_phrase).",
                    "Mix them with --blend 0.5, or train one with another --subject.",
                )
            known.setdefault(trigger, (path, run))


def _blended(adapters: Sequence[WeightedAdapter], blend: float) -> tuple[WeightedAdapter, ...]:
    """1 - `blend` of the first of two adapters, and `blend` of the second."""
    pairs = zip(adapters, (1.0 - blend, blend), strict=True)
    return tuple(replace(one, weights=one.weights.times(factor)) for one, factor in pairs)


# --- writing ------------------------------------------------------------------------------------


def _write_pictures(
    family: ModelFamily, tasks: Sequence[Task], images: Iterable[tuple[int, Image.Image]],
    folder: Path, metadata: bool, fix: str, tell: Tell,
) -> list[Picture]:  # fmt: skip
    """`images`, by their places in `tasks`, on the disk, in their order. fix: what takes less
    memory."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    made: dict[int, Picture] = {}
    with tell.progress("generating", len(tasks)) as wait, within_memory(fix):
        for place, image in images:
            one, recipe = tasks[place].request, tasks[place].recipe(family, image)
            path = _new_name(folder, f"{slug(one.prompt)}-{called(one).replace(' ', '')}")
            save_png(image, path, recipe if metadata else None)
            made[place] = Picture(path, one, recipe)
            tell.picture(path, one.prompt)
            wait.advance()
    return [made[place] for place in range(len(tasks))]


def _new_name(folder: Path, stem: str) -> Path:
    """The first free of stem.png, stem-2.png, ...: no picture is ever overwritten."""
    path, number = folder / f"{stem}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.png"
    return path


def _write_sheet(page: Path, made: Sequence[Picture], order: Order) -> None:
    """A row for each picture's recipe with a column for each blend, or rows of seeds."""
    blends = len(order.blends) or 1
    marks = [f"  ·  blend {blend:g}" for blend in order.blends] or [""]
    each = len(made) // blends
    labels = [
        f"{one.request.prompt}  ·  {called(one.request)}{marks[i // each]}"
        for i, one in enumerate(made)
    ]
    places, columns = list(range(len(made))), order.count if order.count > 1 else None
    if blends > 1:
        places = [i for k in range(each) for i in places[k::each]]
        columns = blends
    images = [Image.open(made[i].path) for i in places]
    save_png(sheet(images, [labels[i] for i in places], columns=columns), page)


# --- the best -----------------------------------------------------------------------------------


def _open_panel(order: Order, opened: Opened, tell: Tell) -> Panel | None:
    """Who chooses the best of the pictures; None where all are taken."""
    run, config = opened.run, opened.config
    if order.best is None:
        return None
    if order.best > order.count:
        raise ConfigError(
            f"--best {order.best} of -n {counted(order.count, 'picture')}.",
            "Make more, or choose fewer.",
        )
    if len(order.blends) > 1:
        raise ConfigError("--best chooses among one blend.", "Give --blend one number.")
    photos = subject_photos([run] if run else [], config.score.like, tell=tell)
    panel = open_panel(config, photos, tell=tell)
    if panel.prompt.name == MINIATURE and config.base.name not in EMBEDDED:
        tell.note("note: the miniature's CLIP knows a toy world only; name another with --judge")
    if panel.references is None:
        tell.note("note: there are no photos to compare with (--like): by prompt alone")
    return panel.read([one.plain for one in opened.prompts], tell=tell)


def _rank(
    panel: Panel, made: Sequence[Picture], opened: Opened, order: Order, tell: Tell
) -> tuple[Ranking, ...]:
    """The pictures of each prompt in order, the sheets of them best.png, best-2.png, ..."""
    found = []
    for number, said in enumerate(opened.prompts):
        own = made[number * order.count : (number + 1) * order.count]
        page = own[0].path.with_name("best.png" if number == 0 else f"best-{number + 1}.png")
        judges = _before_photos(panel, said, opened)
        paths = [one.path for one in own]
        found.append(ranking(judges, paths, said.plain, order.best, page, tell=tell))
    return tuple(found)


def _before_photos(panel: Panel, said: Said, opened: Opened) -> Panel:
    """The judges before the photos of whom the prompt names, where the run has several."""
    run, subject = opened.run, said.subjects[0]
    if run is None or opened.config.score.like or subject == run.config.subject:
        return panel
    own = next(one for one in run.by_subject() if one.config.subject == subject)
    return panel.against(subject_photos([own]))


# --- once more ----------------------------------------------------------------------------------


@contained()
def remake(
    picture: Path, out: Path, *, metadata: bool = True, alone: bool = False, tell: Tell = SILENT
) -> Picture:
    """Makes a picture again from the recipe inside it; UserError names what is not as it was.

    To the last bit it is what it was only among as many as it was made with: as many copies are
    made, unless `alone`."""
    recipe = read_recipe(picture)
    base = BaseConfig(name=recipe["base"]["name"], quantize=recipe["base"].get("quantize", "none"))
    family = load_base(base, Runtime.from_config(base), tell)
    if family.revision != recipe["base"]["revision"]:
        raise UserError(
            f"{picture}: was made with base weights {recipe['base']['revision'][:10]};"
            f" {base.name} is now {family.revision[:10]}.",
            "Put those weights back.",
        )
    skip = bool(recipe.get("skip_unknown"))
    adapters = [
        WeightedAdapter(
            _found(picture, one, tell), strength.parse(str(one["weight"])), skip, one["name"]
        )
        for one in recipe["adapters"]
    ]
    words = [
        Embedding(_found(picture, one, tell), one["name"]) for one in recipe.get("embeddings", ())
    ]
    regions = read_regions(recipe.get("regions", ()), len(adapters))
    asked = with_photos(picture, Request.of(recipe["request"]), tell)
    task = Task(asked, tuple(adapters), tuple(words), regions)
    copies = 1 if alone else recipe.get("batch", 1)
    if copies > 1:
        tell.note(
            f"note: it was one of {copies} at once, and is so again, to the last bit;"
            " --batch-size 1 makes it alone, in less time"
        )
    images = itertools.islice(make(family, [task] * copies, copies, tell=tell), 1)
    return _write_pictures(family, [task], images, out, metadata, smaller(asked, copies), tell)[0]


def _found(picture: Path, entry: Mapping[str, Any], tell: Tell) -> Path:
    """Where a file of the recipe is now."""
    path = find_adapter(picture, entry)
    if path != Path(entry["path"]):
        tell.note(f"note: its adapter {entry['path']} is now {path}")
    return path
