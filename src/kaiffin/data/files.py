"""What every file in a folder of photos is: the one reader of folders. Torch-free.

A layout says which files it uses; whatever else lies there is told by what it is (`account`, with
the table of `data.formats`). Only what systems leave behind is passed over without a word
(`is_leftover`).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaiffin.data import formats
from kaiffin.data.formats import Kind, is_photo, kind_of
from kaiffin.foundation.text import first_few, is_text, same

NAMED = 5  # files of one kind that are named; the rest is counted


@dataclass(frozen=True)
class LeftOut:
    """Files of one kind that are not used, by their names below the photos' folder."""

    kind: Kind
    names: tuple[str, ...]

    @property
    def what(self) -> str:
        """`videos cannot be read (3): a.mov, b.mov, c.mov`."""
        return f"{self.kind.name} {self.kind.becomes} ({len(self.names):,}): {some(self.names)}"


def some(names: Sequence[str]) -> str:
    """The first few of the names, and how many more there are."""
    return first_few(names, NAMED)


def is_leftover(name: str) -> bool:
    """Whether systems leave such a file or folder behind: `.DS_Store`, `Thumbs.db`, `._photo.jpg`,
    `@eaDir`, and all whose name begins with a dot, but `.photo.jpg.icloud`: one not yet here."""
    hidden = name.startswith((".", "~$")) and not name.lower().endswith(".icloud")
    return hidden or name.lower() in formats.LEFTOVERS


def photos_in(folder: Path) -> list[Path]:
    """The photos right in `folder`, by name: no leftovers, no masks of other photos."""
    names = sorted(name for name in os.listdir(folder) if not is_leftover(name))
    paths = [folder / name for name in names]
    photos = [path for path in paths if is_photo(path) and not path.is_dir()]
    stems = {same(path.stem) for path in photos}
    return [path for path in photos if masked(path) not in stems]


def masked(path: Path) -> str | None:
    """The stem, casefolded, of the photo that `path` would be the mask of: `p1` for
    `p1-masklabel.png`, None for names that no mask has."""
    stem = same(path.stem)
    return next((stem.removesuffix(end) for end in formats.MASK_ENDS if stem.endswith(end)), None)


def refusal(path: Path, top: Path, links: bool) -> str | None:
    """Why a listed photo is not even opened, None where it is. links: whether a link may lead out
    of `top`."""
    if not is_text(path.name):
        return "its name is not UTF-8; rename it"
    if path.is_symlink() and not path.exists():
        return "is a link that leads nowhere; put the photo itself there"
    if not links and not path.resolve().is_relative_to(top.resolve()):
        return "is a link that leaves the photo folder; --data.links true follows it"
    return None if path.is_file() else "is no file"


def shown(path: Path, top: Path) -> str:
    """The name below `top`, as it can be printed, on one line."""
    name = path.relative_to(top) if path.is_relative_to(top) else Path(path.name)
    text = os.fsencode(name.as_posix()).decode("utf-8", errors="backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], text)


def walk(top: Path) -> Iterator[Path]:
    """Every file below `top` but leftovers, and links to folders, which are not followed."""
    for place, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not is_leftover(name))
        paths = [Path(place) / name for name in (*names, *folders) if not is_leftover(name)]
        yield from sorted(path for path in paths if path.is_symlink() or not path.is_dir())


def account(top: Path, used: Collection[Path], *, below: bool = True) -> list[LeftOut]:
    """Every file in `top`, and below it, that is not in `used`, by what it is."""
    used = set(used)
    found: dict[Kind, list[str]] = defaultdict(list)
    there = list(walk(top))
    stems = {same(path.stem) for path in used if is_photo(path)}
    captioned = _beside({*there} - used, formats.FOLLOWING) | _beside(used, formats.SECOND)
    for path in there:
        if path not in used and (below or path.parent == top):
            kind = _unused(path, top, stems)
            if kind is formats.CAPTIONS:
                kind = captioned.get((path.parent, same(path.stem)), kind)
            found[kind].append(shown(path, top))
    order = (
        formats.PHOTOS,
        formats.LOOSE,
        formats.MASKS,
        formats.LINKS,
        formats.CAPTIONS,
        formats.FOLLOWING,
        formats.SECOND,
        *formats.KNOWN,
        formats.OTHERS,
    )
    return [LeftOut(kind, tuple(found[kind])) for kind in order if kind in found]


def _beside(photos: Collection[Path], kind: Kind) -> dict[tuple[Path, str], Kind]:
    """What a caption file is, by its folder and name, beside the photos among these files."""
    named = ((path, name) for path in photos if is_photo(path) for name in (path.stem, path.name))
    return {(path.parent, same(name)): kind for path, name in named}


def _unused(path: Path, top: Path, stems: Collection[str]) -> Kind:
    if path.is_symlink() and path.is_dir():
        return formats.LINKS
    if not is_photo(path):
        return kind_of(path)
    if in_masks(path, top) or masked(path) in stems:
        return formats.MASKS
    return formats.LOOSE if path.parent == top else formats.PHOTOS


def in_masks(path: Path, top: Path) -> bool:
    """Whether it lies in a folder of masks below `top`."""
    return any(part.lower() in formats.MASK_FOLDERS for part in path.relative_to(top).parts[:-1])
