"""What of a repository lies in the hub's cache: whole, in part, or damaged. Torch-free.

The cache is huggingface_hub's and shared with other programs: `refs/` says which commit a branch
was, `snapshots/<commit>/` holds links into `blobs/` (plain files where there are no links), and
`trees/<commit>.json` what the hub says of every file, where a client wrote it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kaiffin.models.files import header
from kaiffin.models.files.published import Source
from kaiffin.models.files.wanted import INDEX, components

STORE = "models--"  # how the folder of a repository of models begins
TREE_FORMAT = 1  # of trees/<commit>.json; another one is not read


@dataclass(frozen=True)
class Entry:
    """What the hub says of a file. size: bytes; sha256: of large files, "" for those in git."""

    size: int
    sha256: str = ""


Listing = Mapping[str, Entry]


@dataclass(frozen=True)
class Kept:
    """A commit of a repository in the cache. store: the repository's folder there; listing: all its
    files as the hub lists them, None where no client has kept that."""

    store: Path
    commit: str
    listing: Listing | None

    @property
    def repo(self) -> str:
        """Its name on the hub."""
        return self.store.name.removeprefix(STORE).replace("--", "/", 1)

    @property
    def is_published(self) -> bool:
        """Whether a name without a revision means this commit."""
        return _ref(self.store, "main") == self.commit

    @property
    def folder(self) -> Path:
        """The files by their names in the repository."""
        return self.store / "snapshots" / self.commit

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes on the disk of every file that is there; a link to nothing is none."""
        found = {}
        for folder, _, files in os.walk(self.folder):
            for path in (Path(folder, name) for name in files):
                if path.is_file():
                    found[path.relative_to(self.folder).as_posix()] = path.stat().st_size
        return found

    @cached_property
    def damaged(self) -> dict[str, int]:
        """Files that are shorter or longer than they must be, and their right size."""
        right = {name: self._right_size(name) for name in self.sizes}
        return {name: size for name, size in right.items() if size != self.sizes[name]}

    @property
    def names(self) -> set[str]:
        """What is known to belong to it: the listing, else what is on the disk."""
        return set(self.sizes if self.listing is None else self.listing)

    @property
    def here(self) -> set[str]:
        """What is here and whole, as far as sizes tell."""
        return self.sizes.keys() - self.damaged.keys()

    @property
    def parts(self) -> list[str]:
        """The components that its own index names, of those that Kaiffin loads; without an index
        none."""
        try:
            named = json.loads((self.folder / INDEX).read_text(encoding="utf-8"))
            weighted, read = components()
            return [part for part in (*weighted, *read) if (named.get(part) or [None])[0]]
        except (OSError, ValueError, AttributeError, TypeError):
            return []

    def _right_size(self, name: str) -> int:
        """By the listing; for what is not listed by the file's own header, else what it is."""
        if self.listing and name in self.listing:
            return self.listing[name].size
        if name.endswith(".safetensors"):
            return header.size(self.folder / name)
        return self.sizes[name] or -1  # an empty file says nothing


def find(source: Source) -> Kept | None:
    """What the cache holds of a repository at a revision; None where it holds nothing of it."""
    store = store_of(source.repo)
    commit = source.revision if source.is_commit else _ref(store, source.revision or "main")
    if not commit or not (store / "snapshots" / commit).is_dir():
        return None
    return Kept(store, commit, _tree(tree_path(store, commit)))


def repositories() -> Iterator[Kept]:
    """Every repository of models in the cache: as it was published when it was taken, else its
    newest commit."""
    for store in sorted(cache().glob(f"{STORE}*--*")):
        commits = [path for path in (store / "snapshots").glob("*") if path.is_dir()]
        names = [path.name for path in sorted(commits, key=lambda path: path.stat().st_mtime)]
        if names:
            published = _ref(store, "main")
            commit = published if published in names else names[-1]
            yield Kept(store, commit, _tree(tree_path(store, commit)))


def store_of(repo: str) -> Path:
    """The folder of a repository in the cache."""
    return cache() / f"{STORE}{repo.replace('/', '--')}"


def cache() -> Path:
    """The hub's cache on this machine."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def tree_path(store: Path, commit: str) -> Path:
    """Where a client keeps what the hub lists of a commit."""
    return store / "trees" / f"{commit}.json"


def remove(path: Path) -> None:
    """A damaged file with all that it links to, so that it is not served again."""
    while path.is_symlink():
        target = path.parent / os.readlink(path)
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


def _ref(store: Path, revision: str) -> str:
    try:
        return (store / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _tree(path: Path) -> Listing | None:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["format_version"] != TREE_FORMAT:
            return None
        return {
            name: Entry(one.get("lfs_size") or one["size"], one.get("lfs_sha256") or "")
            for name, one in tree["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
