"""What pictures are made with: a base, or a run with its adapter."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kaiffin.adapters.files import subject
from kaiffin.adapters.files.open import peek
from kaiffin.adapters.files.reading import PEFT_FILE
from kaiffin.data.formats import is_photo
from kaiffin.foundation.config import BaseConfig, Config, SubjectConfig
from kaiffin.foundation.errors import ConfigError, RunError, UserError
from kaiffin.foundation.phases import expand
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import changed
from kaiffin.foundation.subject import PLACES
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted
from kaiffin.foundation.whereabouts import base_now, content_sha256
from kaiffin.models.files.embedded import EMBEDDED, FAST
from kaiffin.pictures.make import WeightedAdapter
from kaiffin.pictures.start import File

# A run's pictures lie up to so many folders below it (grids/<name>/pictures).
LEVELS = 4
MOST_FILES = 64  # of an adapter that is a folder
LARGEST = 2**32  # bytes; a base model beside the adapters is not hashed


def open_source(
    source: str, changes: Mapping[str, Any] | None = None, *, tell: Tell = SILENT
) -> tuple[Run | None, Config]:
    """The run at `source`, if it is one, and the configuration of pictures with it or the base.

    A run's base is looked for where it has moved to; RunError where it is nowhere.
    """
    run = Run.open(Path(source)) if Run.is_at(Path(source)) else None
    config = run.config if run else Config(base=BaseConfig(name=source))
    config = changed(config, **{"sample.size": None, **(changes or {})})
    return run, base_now(run, config, changes or (), tell) if run else config


def subjects_known(prompt: str, adapters: Sequence[Path], tell: Tell) -> tuple[SubjectConfig, ...]:
    """Who may be meant where no run says it: whom the header of the first adapter names, if anyone.

    ConfigError where `prompt` has {token} or {noun}, and it names nobody; what they are, of
    several the first, is told.
    """
    known = subject.everyone(peek(adapters[0])[1]) if adapters else [("", "")]
    word, noun = known[0]
    if found := PLACES.search(prompt):
        if not word:
            why = (
                f"{adapters[0]} does not say who it is of" if adapters else "a base has no subject"
            )
            raise ConfigError(
                f"{prompt[:60]!r}: {found[0]} is not known: {why}.",
                "Write the words themselves into the prompt.",
            )
        tell.note(f"note: {{token}} is {word!r} and {{noun}} is {noun!r}, as {adapters[0]} says")
    return tuple(SubjectConfig(token=word, noun=noun) for word, noun in known if word)


def of_run(run: Run, blended: bool = False) -> list[WeightedAdapter]:
    """The run's adapter; to blend its phases, the file of each."""
    if not run.finished:
        raise RunError(f"{run.path}: is not finished.", f"Run `kaiffin resume {run.path}` first.")
    parts = [name for name in expand(run.config)[-1].attached if name]
    if blended and parts:
        return [WeightedAdapter(run.part_path(name)) for name in parts]
    return [WeightedAdapter(run.adapter_path)]


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


def find_adapter(picture: Path, adapter: Mapping[str, Any]) -> Path:
    """Where the adapter of a picture's recipe is now: known by its content, whatever it is called.

    It is looked for where the recipe says (what that says relative to the working folder of then,
    also from the folders above the picture), in the folders around the picture (a run's pictures
    lie in the run), in the working folder, and in the runs below that. UserError that names what
    was looked for.
    """
    recorded, wanted = Path(adapter["path"]), adapter["sha256"]
    near = _adapters_near(picture)
    path, count = _find(picture, recorded, wanted, near)
    if path is not None:
        return path
    raise UserError(
        f"{picture}: its adapter {adapter['name']} (SHA-256 {wanted[:12]}) is missing or has"
        f" changed: it is neither {recorded} nor any of {counted(count, 'adapter')} around the"
        " picture, in the working folder and in runs/ below it.",
        "Put it beside the picture, under any name.",
    )


def find_photo(picture: Path, photo: File) -> Path:
    """The same for what a picture was painted over: looked for where the recipe says, beside the
    picture, and in the working folder."""
    recorded = Path(photo.path)
    near = (
        path
        for place in (picture.resolve().parent, Path.cwd())
        for path in sorted(place.iterdir())
        if path.is_file() and is_photo(path)
    )
    path, count = _find(picture, recorded, photo.sha256, near)
    if path is not None:
        return path
    raise UserError(
        f"{picture}: {photo.name}, which it was painted over (SHA-256 {photo.sha256[:12]}), is"
        f" missing or has changed: it is neither {recorded} nor any of"
        f" {counted(count, 'picture')} beside this one and in the working folder.",
        "Put it beside the picture, under any name.",
    )


def _find(
    picture: Path, recorded: Path, wanted: str, near: Iterable[Path]
) -> tuple[Path | None, int]:
    """Where a file of this content is: as recorded, also from the folders above the picture, else
    among those near it; and how many those were."""
    above = (place / recorded for place in picture.resolve().parents[:LEVELS])
    for path in dict.fromkeys([recorded, *above]):
        if content_sha256(path) == wanted:
            return path, 0
    others = sorted(near, key=lambda path: path.name != recorded.name)
    found = next((path for path in others if content_sha256(path) == wanted), None)
    return found, len(others)


def _adapters_near(picture: Path) -> Iterator[Path]:
    """Files and PEFT folders that may be it, each once; what is larger than any adapter is no
    candidate."""
    places = [*picture.resolve().parents[:LEVELS], Path.cwd(), *Path("runs").glob("*")]
    patterns = ("*.safetensors", "candidates/*.safetensors", f"*/{PEFT_FILE}")
    files = (path.resolve() for place in places for one in patterns for path in place.glob(one))
    folders = (
        file.resolve().parents[1] for place in places for file in place.glob(f"*/*/{PEFT_FILE}")
    )
    ours = (folder / FAST for folder in EMBEDDED.values())
    small = (path for path in (*ours, *files) if path.is_file() and path.stat().st_size < LARGEST)
    yield from dict.fromkeys([*small, *filter(_is_small, folders)])


def _is_small(folder: Path) -> bool:
    """Whether it may be an adapter's: a few files, not a place where one happens to lie."""
    return len(list(itertools.islice(folder.rglob("*"), MOST_FILES + 1))) <= MOST_FILES
