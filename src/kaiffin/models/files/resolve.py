"""From what the user calls a base to files here, or one error that says what to put where.

Looked up in this order: the miniatures inside the package; a path; a name that the user gave
(shelf.py); a short name or hub id in the Hugging Face cache; the hub itself, where there is a
network (obtain.py). Only safetensors are ever read.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kaiffin.foundation.errors import MissingWeightsError, nearest
from kaiffin.foundation.folder import expanded
from kaiffin.foundation.tell import Tell
from kaiffin.models.files import header, kept, obtain, recognise, shelf, vocabulary, wanted
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.header import PICKLES
from kaiffin.models.files.published import ALIASES, Source, source_of
from kaiffin.models.files.wanted import INDEX

FILES = {*PICKLES, ".safetensors", ".gguf"}  # suffixes by which a name is a file, there or not
LOADABLE = ("here", "half")  # states of what is whole
# The repositories whose parts stand in for what a file lacks, and a VAE of each family by itself.
HOMES = {"sd1": ALIASES["sd15"], "sdxl": ALIASES["sdxl"]}
VAES = {"sd1": "stabilityai/sd-vae-ft-mse", "sdxl": "madebyollin/sdxl-vae-fp16-fix"}
CONFIGS = Path(__file__).parents[1] / "configs"  # of the published models


@dataclass(frozen=True)
class Located:
    """Files of a base: a diffusers folder or one checkpoint file, and its family's name.

    schedule, remarks: see `recognise.Found`.
    """

    kind: Literal["folder", "file"]
    path: Path
    family: str
    schedule: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def configs(self) -> Path:
        """Folder with the components' configurations.

        A checkpoint file carries none: those of the published models stand for it, unless a folder
        `<file name without suffix>.config` lies beside the file.
        """
        if self.kind == "folder":
            return self.path
        own = self.path.with_suffix(".config")
        return own if own.is_dir() else CONFIGS / self.family


def locate(name: str, *, tell: Tell, half: bool | None = None, check: bool = False) -> Located:
    """Finds base `name`; takes from the hub what of it is not here.

    half: whether its weights are wanted in half precision; None: its configurations will do.
    check: whether what the hub's cache holds is proven by its hashes.
    Raises `MissingWeightsError` naming what to put where.
    """
    if name in EMBEDDED:
        return _folder(EMBEDDED[name])
    path, called = _here(name), ""
    if path is None:
        source = source_of(name)
        if source is None:
            raise MissingWeightsError(
                f"base {name!r} is no folder, no file and no known name.",
                nearest(name, [*EMBEDDED, *ALIASES, *shelf.names()]),
            )
        look = functools.partial(recognise.of_folder, called=source.repo, whole=False)
        path, called = obtain.base(source, half, tell=tell, look=look, check=check), source.repo
    return _folder(path, called) if path.is_dir() else _file(path, called)


def locate_vae(name: str, *, tell: Tell) -> Path:
    """The folder or file that `base.vae` means: a path, or what a repository of the hub holds."""
    if path := _here(name):
        if not path.exists():
            raise MissingWeightsError(f"base.vae = {name!r}: there is no such file.")
        return path
    source = source_of(name)
    if source is None:
        raise MissingWeightsError(f"base.vae = {name!r}: is no folder, no file and no hub id.")
    return obtain.vae(source, tell=tell)


def complete(located: Located, half: bool, tell: Tell) -> None:
    """Takes what a checkpoint file needs beside itself: parts that it lacks, CLIP's vocabulary."""
    if located.kind == "file":
        for part in recognise.lacking(header.read(located.path), located.family):
            stand_in(located, part, half, tell)
        with vocabulary.tokenizer_folder(located.configs / "tokenizer", located.path, tell):
            pass


def stand_in(located: Located, part: str, half: bool, tell: Tell) -> Path:
    """The folder of a component that a file lacks: in `<stem>.config` beside it, else of the
    published base, from the hub where it is not here. MissingWeightsError names both."""
    home = HOMES[located.family]
    beside = located.path.with_suffix(".config") / part
    if any(beside.glob("*.safetensors")):
        return beside
    try:
        return obtain.part(Source(home, home), part, half, tell=tell)
    except MissingWeightsError as error:
        name = "VAE" if part == "vae" else "text encoder"
        give = f"Pass --base.vae {VAES[located.family]}, or" if part == "vae" else "Take"
        raise MissingWeightsError(
            f"{located.path}: holds no {name} ({part}), and that of {home} cannot be taken:"
            f" {error.message}",
            f"{give} a checkpoint that has one, or put that folder into {beside.parent}.",
        ) from None


def is_here(name: str) -> bool:
    """Whether base `name` can be loaded without a network."""
    source = source_of(name)
    return is_local(name) or (source is not None and obtain.status(source).state in LOADABLE)


def in_cache() -> Iterator[tuple[str, str]]:
    """Every base that other programs, or Kaiffin by its id, have put into the hub's cache: its name
    for --base, and its family."""
    for one in kept.repositories():
        name = one.repo if one.is_published else f"{one.repo}@{one.commit}"
        files = [] if INDEX in one.here else wanted.checkpoints(one.here)
        for path in [one.folder / file for file in files] or [one.folder]:
            with contextlib.suppress(MissingWeightsError):  # no base, but a judge or an adapter
                if path.is_dir():
                    yield name, recognise.of_folder(path, one.repo, whole=False).family
                else:
                    yield f"{name}:{path.name}", recognise.of_file(path, one.repo).family


def is_local(name: str) -> bool:
    """Whether base `name` is none of the hub's: inside Kaiffin, a path, or named by the user."""
    return name in EMBEDDED or _here(name) is not None


def pinned(name: str) -> str:
    """`name` with the commit that is on this machine, where it is the hub's and names none; so that
    it means the same weights wherever and whenever it is loaded again."""
    source = None if is_local(name) else source_of(name)
    found = kept.find(source) if source and not source.is_commit else None
    return source.at(found.commit) if source and found else name


def _here(name: str) -> Path | None:
    """What on this machine is meant by `name`: a path, or what the user called so."""
    path, source = expanded(Path(name)), source_of(name)
    is_file = path.suffix in FILES and not (source and source.file)
    return path if path.exists() or is_file else shelf.find(name)


def _folder(path: Path, called: str = "") -> Located:
    found = recognise.of_folder(path, called)
    return Located("folder", path, found.family, found.schedule, found.remarks)


def _file(path: Path, called: str = "") -> Located:
    found = recognise.of_file(path, called)
    return Located("file", path, found.family, found.schedule, found.remarks)
