"""Pictures of many requests, each adapter loaded once and equal settings together."""

from __future__ import annotations

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from kaiffin.adapters import strength
from kaiffin.adapters.files import safe
from kaiffin.adapters.files.open import file_of
from kaiffin.adapters.files.spelling import skipped_of
from kaiffin.adapters.load import load_adapter, load_embedding, was_trained_on
from kaiffin.adapters.stack import Stack
from kaiffin.adapters.strength import PLAIN, Weights
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.tell import SILENT, Noted, Tell
from kaiffin.foundation.whereabouts import content_sha256
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.pictures.batches import Batches
from kaiffin.pictures.recipe import recipe
from kaiffin.pictures.regions import Region, shares, window, written
from kaiffin.pictures.request import AdapterRef, Request, settings
from kaiffin.pictures.sample import OnStep, Watch, Weigh, generate
from kaiffin.pictures.told import Part, Share


@dataclass(frozen=True)
class WeightedAdapter:
    """An adapter file and how strong it is to be; skip_unknown: as `load_adapter` has it; name:
    what a prompt calls it, "" for the file's own."""

    path: Path
    weights: Weights = PLAIN
    skip_unknown: bool = False
    name: str = ""


@dataclass(frozen=True)
class Embedding:
    """A textual inversion's file, and its word in prompts; "" for the file's name."""

    path: Path
    name: str = ""

    @property
    def word(self) -> str:
        return self.name or self.path.stem


@dataclass(frozen=True)
class Task:
    """A picture that is wanted: what is asked, and all adapters and embeddings on the base.

    regions: where adapters act that do not act everywhere; none, where all do.
    """

    request: Request
    adapters: tuple[WeightedAdapter, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    regions: tuple[Region, ...] = ()

    @property
    def worn(self) -> tuple[Hashable, ...]:
        """With `setting`, equal for pictures that can be computed together."""
        return (*((one.path, one.skip_unknown) for one in self.adapters), *self.embeddings)

    def recipe(self, family: ModelFamily, image: Image.Image | None = None) -> dict[str, Any]:
        """All that is needed to make the picture again; to the last bit with `image`, which says
        how many were made at once."""
        made = recipe(self.request, family, [_reference(one) for one in self.adapters])
        if self.embeddings:
            made["embeddings"] = [
                {"path": str(one.path), "name": one.word, "sha256": file_sha256(one.path)}
                for one in self.embeddings
            ]
        if any(one.skip_unknown for one in self.adapters):
            made["skip_unknown"] = True
        if self.regions:
            made["regions"] = written(self.regions)
        if image and image.info.get("batch", 1) > 1:
            made["batch"] = image.info["batch"]
        return made


def _reference(one: WeightedAdapter) -> AdapterRef:
    """The adapter as a recipe names it."""
    number = one.weights.number
    weight = str(one.weights) if number is None else number
    ours = one.path.parent in EMBEDDED.values()  # of what comes with Kaiffin, no place of here
    path = one.path.name if ours else str(one.path)
    return AdapterRef(
        path, one.name or one.path.stem, content_sha256(one.path), weight,
        safe.model_hash(one.path),
    )  # fmt: skip


class Wardrobe:
    """A base's adapters and embeddings that were read: the `most` used last stay in memory, with
    what there is to say of them, which all hear who wear them."""

    def __init__(self, family: ModelFamily, most: int = 0) -> None:
        self.family, self.most = family, most
        self._kept: OrderedDict[Hashable, tuple[Stack, list[str]]] = OrderedDict()

    @contextlib.contextmanager
    def worn(self, task: Task, tell: Tell) -> Iterator[list[Stack]]:
        """The task's adapters, which are yielded, and embeddings on the base while the block
        runs."""
        wanted = [*task.adapters, *task.embeddings]
        stacks = [self._stack(one, number, tell) for number, one in enumerate(wanted)]
        try:
            for one, stack in zip(wanted, stacks, strict=True):
                with safe.about(one.path):
                    stack.inject(self.family)
            yield stacks[: len(task.adapters)]
        finally:
            for stack in stacks:
                stack.eject()
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)

    def _stack(self, one: WeightedAdapter | Embedding, number: int, tell: Tell) -> Stack:
        """number: its place, since one file may be worn twice."""
        state = [(p, p.stat().st_mtime_ns, p.stat().st_size) for p in _files_of(one.path)]
        way = one.word if isinstance(one, Embedding) else one.skip_unknown
        key = (number, tuple(state), way)
        if key not in self._kept:
            heard = Noted()
            self._kept[key] = _read(one, self.family, heard), heard.notes
        self._kept.move_to_end(key)
        stack, notes = self._kept[key]
        for text in notes:
            tell.note(text)
        return stack


def _files_of(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []


def _read(one: WeightedAdapter | Embedding, family: ModelFamily, tell: Tell) -> Stack:
    if isinstance(one, Embedding):
        stack = _embedding(one, family, tell)
    else:
        stack = _loaded(one, family, tell)
    for word in (token.word for token in stack.tokens if family.words.is_known(token.word)):
        name = one.path.name
        tell.note(f"note: {word!r} is a word of {family.base}; it means now what {name} says")
    stack.train(False)
    return stack


def _loaded(one: WeightedAdapter, family: ModelFamily, tell: Tell) -> Stack:
    stack = load_adapter(one.path, family, one.weights, one.skip_unknown)
    if stack.skipped:
        tell.note(f"note: {one.path.name} without {skipped_of(stack.skipped)}")
    if not was_trained_on(one.path, family):
        tell.note(
            f"note: {one.path.name} was trained on other weights than {family.base} has: where its"
            " pictures are not right, train it again"
        )
    return stack


def _embedding(one: Embedding, family: ModelFamily, tell: Tell) -> Stack:
    stack = load_embedding(one.path, family, one.word)
    words = " or ".join(repr(token.word) for token in stack.tokens)
    tell.note(f"note: {one.path.name} is called by {words} in a prompt")
    return stack


def make(
    family: ModelFamily, tasks: Sequence[Task], batch_size: int | Batches = 4,
    on_step: OnStep | None = None, *, watch: Watch | None = None, wardrobe: Wardrobe | None = None,
    tell: Tell = SILENT,
) -> Iterator[tuple[int, Image.Image]]:  # fmt: skip
    """Yields (place in `tasks`, picture), each adapter loaded once, equal settings together.

    In the order of `tasks` where all have the same adapters and settings. batch_size, on_step,
    watch: as `sample.generate` has them; wardrobe: of the family, where adapters are to stay from
    call to call.
    """
    wardrobe = wardrobe or Wardrobe(family)
    for of_worn in _grouped(range(len(tasks)), lambda i: tasks[i].worn):
        with wardrobe.worn(tasks[of_worn[0]], tell) as stacks:
            for alike in _grouped(of_worn, lambda i: setting(tasks[i])):
                for one, stack in zip(tasks[alike[0]].adapters, stacks, strict=True):
                    stack.weights = one.weights
                    stack.wear(True)
                requests = [tasks[i].request for i in alike]
                made = generate(
                    family, requests, batch_size=batch_size, on_step=on_step, weigh=_weigh(stacks),
                    watch=watch, share=_share(stacks),
                    parts=_parts(family, tasks[alike[0]], stacks),
                )  # fmt: skip
                yield from zip(alike, made, strict=True)


def beside(
    own: Stack, lift: float, others: tuple[WeightedAdapter, ...], requests: Sequence[Request],
    wardrobe: Wardrobe,
) -> Iterator[Image.Image]:  # fmt: skip
    """Pictures with what is on the base already, `own`, as strong as `lift`, and with `others`.

    Afterwards `own` is as strong as it was."""
    before, own.weights = own.weights, own.weights.times(lift)
    try:
        with wardrobe.worn(Task(requests[0], others), SILENT) as worn:
            for one, stack in zip(others, worn, strict=True):
                stack.weights = one.weights
            stacks = [own, *worn]
            yield from generate(
                wardrobe.family, requests, weigh=_weigh(stacks), share=_share(stacks)
            )
    finally:
        own.weights = before
        own.weigh(0.0)


def setting(task: Task) -> Hashable:
    """With `Task.worn`: equal for pictures that can be computed together."""
    weights = tuple(one.weights for one in task.adapters)
    return weights, task.regions, tuple(settings(task.request).items())


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


def _parts(family: ModelFamily, task: Task, stacks: Sequence[Stack]) -> list[Part]:
    """The regions of a task; adapters of none act in each."""
    asked, cell = task.request, family.downscale
    native = family.native_size // cell
    bound = {place for region in task.regions for place in region.adapters}

    def wear(region: Region) -> None:
        for place, stack in enumerate(stacks):
            stack.wear(place not in bound or place in region.adapters)

    cells = shares(task.regions, asked.height // cell, asked.width // cell) if task.regions else []
    return [
        Part(
            region.prompt,
            share.to(family.device),
            window(share, native),
            functools.partial(wear, region),
        )
        for region, share in zip(task.regions, cells, strict=True)
        if share.any()
    ]


def _share(stacks: Sequence[Stack]) -> Share:
    def share(*shares: float) -> None:
        for stack in stacks:
            stack.share(*shares)

    return share


def parse_adapter(text: str) -> WeightedAdapter:
    """`FILE` or `FILE:WEIGHTS`, as `adapters.strength` reads them."""
    path, weights = strength.split(text)
    return WeightedAdapter(file_of(path), weights)
