"""From a folder to photos with captions: four layouts, every refusal by name or line number.

folder      photos, each with its captions in a file beside it, or the template
metadata    `metadata.jsonl` or `.csv` with `file_name` and `text` (Hugging Face imagefolder)
kohya       folders named `10_name class`: repeats, and the caption of photos without their own
flickr30k   `results.csv`: `image_name| comment_number| comment`, five captions per photo

Files that a layout does not use are told by what they are (data.formats).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from kaiffin.data import captions, files, formats
from kaiffin.data.captions import NO_TEXT, BadCaption, Beside
from kaiffin.data.files import LeftOut, shown
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import ConfigError, PhotoError
from kaiffin.foundation.folder import expanded
from kaiffin.foundation.subject import fill
from kaiffin.foundation.text import composed, decoded, is_text, same, word_pattern

KOHYA = re.compile(r"([0-9]{1,9})_(.+)")
METADATA = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True)
class Source:
    """One photo file with all its captions (at least one)."""

    path: Path
    captions: tuple[str, ...]
    origin: str  # where the captions come from: template, txt, metadata, folder name, results.csv
    repeats: int = 1
    mask_path: Path | None = None


@dataclass
class Listing:
    """What was found. refused: (name, reason) of what cannot be used; left_out: files that are
    none of the layout's; notes: said to the user; used: files that need no further word."""

    format: str
    sources: list[Source] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: set[Path] = field(default_factory=set)


Listings = Mapping[Path | None, Listing]  # by the folders that were read


@dataclass(frozen=True)
class _Place:
    """A folder to read and how. template: the caption of photos that have none of their own."""

    top: Path
    data: DataConfig
    subject: SubjectConfig
    template: str


def read(data: DataConfig, subject: SubjectConfig) -> Listing:
    """Lists the photos of `data.photos`; raises `PhotoError` when there are none to list."""
    if data.photos is None:
        raise ConfigError("data.photos is not set.", "Name a folder with photos.")
    folder = expanded(data.photos)
    _refuse_folder(folder)
    place = _Place(folder, data, subject, fill(data.template, subject))
    listing = Listing(_layout(place) if data.format == "auto" else data.format)
    try:
        _READERS[listing.format](place, listing)
        if data.masks == "folder":
            _add_masks(folder, listing)
        listing.left_out = files.account(folder, listing.used)
    except PermissionError as error:
        raise PhotoError(f"{error.filename}: you have no right to read it.") from None
    if data.ignore_captions:
        listing.sources = [
            replace(source, captions=(place.template,), origin="template")
            for source in listing.sources
        ]
    if not listing.sources and not listing.refused:
        raise _none_found(folder, listing)
    return listing


def _none_found(folder: Path, listing: Listing) -> PhotoError:
    kinds = "; ".join(one.what for one in listing.left_out[:3])
    numbered = any(KOHYA.fullmatch(p.name) for p in folder.iterdir() if p.is_dir())
    way = "Put JPEG, PNG, WebP, BMP, TIFF, AVIF, GIF or HEIC files there."
    if numbered and listing.format == "folder":
        way = "For folders such as 10_name class: --data.format kohya."
    elif any(one.kind is formats.PHOTOS for one in listing.left_out):
        way = "Name the folder that the photos lie in, or move them up."
    elif any(one.kind is formats.LOOSE for one in listing.left_out):
        way = formats.LOOSE.way
    what = f"{folder}: holds no photos ({listing.format} layout)."
    return PhotoError(f"{what} {kinds}." if kinds else what, way)


def _refuse_folder(folder: Path) -> None:
    if folder.is_file():
        raise PhotoError(f"{folder}: is a file.", "Name the folder that holds the photos.")
    if not folder.is_dir():
        raise PhotoError(f"{folder}: there is no such folder.", "Check the path.")
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise PhotoError(
            f"{folder}: cannot be read ({error.strerror}).", "Check the folder's permissions."
        ) from None


def _layout(place: _Place) -> str:
    results = _table(place.top, "flickr30k_images", ("results.csv",))
    if results is not None and _is_flickr(results):
        return "flickr30k"
    if _table(place.top, "train", METADATA) is not None:
        return "metadata"
    names = [child.name for child, repeats, _ in _numbered(place) if repeats]
    words = [word for word in (place.subject.token, place.subject.noun) if word]
    about = [composed(name).replace("_", " ") for name in names]
    # Many folders begin with a number, dates and numbered albums among them.
    mentions = any(word_pattern(word).search(name) for word in words for name in about)
    return "kohya" if mentions else "folder"


def _table(folder: Path, inner: str, names: Sequence[str]) -> Path | None:
    """The first of the tables that is there, in any case, in the folder or in `inner` of it."""
    for place in (folder, folder / inner):
        paths = [path for path in sorted(place.glob("*")) if path.name.lower() in names]
        there = {path.name.lower(): path for path in paths if path.is_file()}
        if found := next((there[name] for name in names if name in there), None):
            return found
    return None


def _is_flickr(table: Path) -> bool:
    """Whether results are captions, not those of some other program."""
    with table.open("rb") as file:
        return file.readline(captions.MAX_BYTES).count(b"|") >= 2


# --- photos with files beside them --------------------------------------------------------------


def _read_folder(place: _Place, listing: Listing) -> None:
    _take_folder(place.top, (place.template, "template", 1), place, listing)


def _read_kohya(place: _Place, listing: Listing) -> None:
    for child, repeats, words in _numbered(place):
        if repeats == 0:
            listing.notes.append(f"folder {child.name} has 0 repeats and is not read")
        else:
            _take_folder(child, (words, "folder name", repeats), place, listing)


def _numbered(place: _Place) -> list[tuple[Path, int, str]]:
    """(folder, repeats, words) of all named `10_name class`; unless the layout is asked for by its
    name, years and numbers with leading zeros are dates."""
    found = []
    for child in sorted(p for p in place.top.iterdir() if p.is_dir()):
        match = KOHYA.fullmatch(child.name)
        number = match.group(1) if match else ""
        is_date = len(number) > 3 or (len(number) > 1 and number.startswith("0"))
        if match and (place.data.format == "kohya" or not is_date):
            found.append((child, int(number), composed(match.group(2).strip())))
    return found


def _take_folder(
    folder: Path, default: tuple[str, str, int], place: _Place, listing: Listing
) -> None:
    """Every photo right in `folder`. default: (caption where it has none, its origin, repeats)."""
    beside = Beside(folder)
    caption, origin, repeats = default
    empty: list[str] = []
    for path in files.photos_in(folder):
        listing.used.add(path)
        if reason := files.refusal(path, place.top, place.data.links):
            listing.refused.append((shown(path, place.top), reason))
            continue
        text = beside.of(path)
        own: tuple[str, ...] = ()
        if text is not None:
            listing.used.add(text)
            try:
                own = () if place.data.ignore_captions else captions.lines(text)
            except BadCaption as error:
                reason = f"the caption of {path.name} {error}"
                listing.refused.append((shown(text, place.top), reason))
                continue
            if not own and not place.data.ignore_captions:
                empty.append(shown(text, place.top))
        source = (own, "txt") if own else ((caption,), origin)
        listing.sources.append(Source(path, *source, repeats))
    if empty:
        named = files.some(empty)
        listing.notes.append(
            f"caption files are empty ({named}): {caption!r} is used, the {origin}"
        )


# --- tables -------------------------------------------------------------------------------------


class _Names:
    """Files below a folder by what tables call them, letters composed or not."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._paths = {composed(path.relative_to(top).as_posix()): path for path in files.walk(top)}

    def find(self, name: str) -> Path | None:
        """None where there is no such file below the folder."""
        return self._paths.get(str(PurePosixPath(composed(name.replace("\\", "/")))))

    def is_below(self, name: str) -> bool:
        """Whether a path of this name cannot leave the folder."""
        parts = PurePosixPath(name.replace("\\", "/"))
        return bool(name) and not (parts.is_absolute() or ":" in name or ".." in parts.parts)

    def photos(self) -> list[Path]:
        """All that are no masks."""
        found = [path for path in self._paths.values() if formats.is_photo(path)]
        return [path for path in found if not files.in_masks(path, self.top)]


def _read_metadata(place: _Place, listing: Listing) -> None:
    table = _table(place.top, "train", METADATA)
    if table is None:
        raise PhotoError(f"{place.top}: has no metadata.jsonl or metadata.csv.")
    names = _Names(table.parent)
    found: dict[Path, list[str]] = {}
    for row in captions.rows(table):
        name = row.file_name or ""
        path = names.find(name) if is_text(name) else None
        reason = row.reason
        if name and not names.is_below(name):
            reason = f"file_name {name!r} names no file below the folder"
        elif path is not None:
            listing.used.add(path)
            reason = reason or files.refusal(path, place.top, place.data.links)
        elif reason is None:
            reason = f"{name}: there is no such file"
        if reason is None and path is not None and row.caption is not None:
            found.setdefault(path, []).append(row.caption)
        else:
            listing.refused.append((f"{table.name} line {row.line}", str(reason)))
    listing.sources = [Source(p, tuple(texts), "metadata") for p, texts in found.items()]
    _refuse_unlisted(table, names, names.photos(), listing)


def _refuse_unlisted(table: Path, names: _Names, photos: Iterable[Path], listing: Listing) -> None:
    listing.used.add(table)
    stems = {same(path.stem) for path in listing.used}
    for path in photos:
        if path not in listing.used and files.masked(path) not in stems:
            reason = f"is not listed in {table.name}"
            listing.refused.append((shown(path, names.top), reason))
            listing.used.add(path)


def _read_flickr30k(place: _Place, listing: Listing) -> None:
    table = _table(place.top, "flickr30k_images", ("results.csv",))
    if table is None:
        raise PhotoError(f"{place.top}: has no results.csv (flickr30k layout).")
    images = table.parent / "flickr30k_images"
    names = _Names(images if images.is_dir() else table.parent)
    found: dict[str, list[str]] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", decoded(table.read_bytes())), 1):
        if number == 1 and line.split("|")[0].strip() == "image_name":
            continue
        if line.strip():
            _take_flickr_row(number, line, found, listing)
    for name, texts in found.items():
        path = names.find(name) if names.is_below(name) else None
        reason = "is listed in results.csv but there is no such file"
        if path is not None:
            listing.used.add(path)
            reason = files.refusal(path, place.top, place.data.links)
        if path is None or reason:
            listing.refused.append((name, str(reason)))
        else:
            listing.sources.append(Source(path, tuple(texts), "results.csv"))
    photos = [path for path in names.photos() if path.parent == names.top]
    _refuse_unlisted(table, names, photos, listing)


def _take_flickr_row(
    number: int, line: str, captions: dict[str, list[str]], listing: Listing
) -> None:
    """`name| 0| caption`; one published row lacks its second separator and is recovered."""
    parts = [part.strip() for part in line.split("|", 2)]
    where = f"results.csv line {number}"
    if len(parts) == 2 and (match := re.fullmatch(r"(\d)\s+(\S.*)", parts[1])):
        parts = [parts[0], match.group(1), match.group(2)]
        listing.notes.append(f"{where}: its missing separator was recovered")
    if not is_text(line):
        listing.refused.append((where, NO_TEXT))
    elif len(parts) == 3 and parts[0] and parts[1].isdigit() and parts[2]:
        captions.setdefault(parts[0], []).append(" ".join(parts[2].split()))
    else:
        listing.refused.append((where, f"is not `name| number| caption`: {line.strip()[:60]!r}"))


# --- masks --------------------------------------------------------------------------------------


def _masks(top: Path) -> dict[tuple[Path | None, str], Path]:
    """Mask files by the stem of their photo; those beside the photos with its folder, those in
    `masks/` with None. Of several a PNG is taken."""
    found: dict[tuple[Path | None, str], Path] = {}
    paths = [path for path in files.walk(top) if formats.is_photo(path)]
    for path in sorted(paths, key=lambda path: path.suffix.lower() != ".png"):
        stem = files.masked(path)
        place = None if path.parent.parent == top and files.in_masks(path, top) else path.parent
        if place is None:
            found.setdefault((None, same(path.stem)), path)
        if stem is not None:
            found.setdefault((place, stem), path)
    return found


def _add_masks(top: Path, listing: Listing) -> None:
    """To every photo its mask; one without is refused."""
    masks = _masks(top)
    found = []
    for source in listing.sources:
        stem = same(source.path.stem)
        mask = masks.get((None, stem)) or masks.get((source.path.parent, stem))
        if mask is None:
            reason = f"its mask is missing, masks/{source.path.stem}.png; white in it is learnt"
            listing.refused.append((shown(source.path, top), reason))
        else:
            listing.used.add(mask)
            found.append(replace(source, mask_path=mask))
    listing.sources = found


_READERS = {
    "folder": _read_folder,
    "kohya": _read_kohya,
    "metadata": _read_metadata,
    "flickr30k": _read_flickr30k,
}
