"""`kaiffin bases`: which bases there are, taken from the hub before they are needed, and named.

Torch-free until `get` has to ask what this machine computes in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.folder import expanded
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files import kept, obtain, resolve, shelf
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.obtain import NoBaseError, Status
from kaiffin.models.files.published import ALIASES, PUBLISHED, Published, source_of

MODEL = "a model for --judge or --base.vae"
Dtype = Literal["auto", "fp32", "fp16", "bf16"]


@dataclass(frozen=True)
class KnownBase:
    """A base by its name. source: its hub id, path or family; status: what is on this machine;
    published: what the hub's pages say of it, None for what is inside Kaiffin or was added."""

    name: str
    source: str
    status: Status
    published: Published | None = None


@dataclass(frozen=True)
class Taken:
    """A base that is on this machine now. path: its folder or file; family: what it is; size: bytes
    of weights there; commit: of the hub's repository, "" for what is not the hub's."""

    name: str
    path: Path
    family: str
    size: int
    commit: str = ""


def bases() -> list[KnownBase]:
    """The bases known by name: inside Kaiffin, added by the user, published. Asks nobody."""
    inside = [KnownBase(n, "inside Kaiffin", _on_disk(path)) for n, path in EMBEDDED.items()]
    added = [KnownBase(n, str(path), _on_disk(path)) for n, path in shelf.names().items()]
    sources = {name: source_of(name) for name in PUBLISHED}
    return [*inside, *added] + [
        KnownBase(name, source.repo, obtain.status(source), PUBLISHED[name])
        for name, source in sources.items()
        if source
    ]


def cached() -> list[KnownBase]:
    """Bases without a short name in the hub's cache, whoever put them there; the largest first.
    Asks nobody."""
    found = []
    for name, family in resolve.in_cache():
        source = source_of(name)
        if source and source.repo not in ALIASES.values():
            found.append(KnownBase(name, SPECS[family].title, obtain.status(source)))
    return sorted(found, key=lambda base: -base.status.size)


def get(name: str, dtype: Dtype = "auto", *, tell: Tell = SILENT) -> Taken:
    """Takes from the hub what base `name` needs and this machine lacks, and proves what is here by
    its hashes, so that it loads without a network. A judge or a VAE is taken likewise.

    dtype: of the weights as they will be loaded; auto: as on this machine. Raises
    MissingWeightsError with a sentence for every reason why it cannot.
    """
    source = None if resolve.is_local(name) else source_of(name)
    try:
        half = _is_half(dtype)
        located = resolve.locate(name, half=half, tell=tell, check=True)
        resolve.complete(located, half, tell)
        path, family = located.path, SPECS[located.family].title
    except NoBaseError:
        if source is None:
            raise
        path, family = obtain.model(source, tell=tell), MODEL
    found = kept.find(source) if source else None
    return Taken(name, path, family, _on_disk(path).size, found.commit if found else "")


def add(path: Path, name: str) -> Taken:
    """Gives the base in a file or folder a short name for --base.

    Raises MissingWeightsError for what is no base, and for a name that is taken.
    """
    if not expanded(path).exists():
        raise MissingWeightsError(f"{path}: there is no such file or folder.")
    located = resolve.locate(str(expanded(path)), tell=SILENT)  # a path asks nobody
    known = shelf.add(path, name)
    return Taken(name, known, SPECS[located.family].title, _on_disk(known).size)


def _is_half(dtype: Dtype) -> bool:
    if dtype != "auto":
        return dtype != "fp32"
    from kaiffin.foundation.runtime import Runtime

    return Runtime.from_config(BaseConfig()).base_dtype.itemsize == 2


def _on_disk(path: Path) -> Status:
    """Of a file or folder outside the hub's cache."""
    if not path.exists():
        return Status("absent", 0, (path.name,), path)
    files = path.rglob("*.safetensors") if path.is_dir() else [path]
    return Status("here", sum(file.stat().st_size for file in files), (), path)
