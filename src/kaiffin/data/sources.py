"""From a folder to photos with captions: five layouts, every refusal by name or line number.

folder      photos, each with a caption in a side-car `.txt` of the same name, or the template
metadata    `metadata.jsonl` or `.csv` with `file_name` and `text` (Hugging Face imagefolder)
kohya       folders named `10_name class`: repeats, and the caption of photos without a `.txt`
flickr30k   `results.csv`: `image_name| comment_number| comment`, five captions per photo
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kaiffin.data.images import SUFFIXES
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import ConfigError, PhotoError
from kaiffin.foundation.subject import fill

KOHYA = re.compile(r"(\d+)_(.+)")
IGNORED = {"thumbs.db", "desktop.ini"}
METADATA = ("metadata.jsonl", "metadata.csv")
CAPTION_FIELDS = ("text", "caption", "prompt")
MAX_CAPTION_BYTES = 100_000


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
    """What was found. refused: (name, reason) of what cannot be used; notes: said to the user."""

    format: str
    sources: list[Source] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    not_photos: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(data: DataConfig, subject: SubjectConfig) -> Listing:
    """Lists the photos of `data.photos`; raises `PhotoError` when there are none to list."""
    if data.photos is None:
        raise ConfigError("data.photos is not set.", "Name a folder with photos.")
    folder = data.photos.expanduser()
    _refuse_folder(folder)
    kind = _layout(folder) if data.format == "auto" else data.format
    template = fill(data.template, subject)
    try:
        listing = _READERS[kind](folder, template)
    except PermissionError as error:
        raise PhotoError(f"{error.filename}: you have no right to read it.") from None
    if data.ignore_captions:
        listing.sources = [
            Source(s.path, (template,), "template", s.repeats) for s in listing.sources
        ]
    if data.masks == "folder":
        listing.sources = [_with_mask(folder, source) for source in listing.sources]
    if not listing.sources and not listing.refused:
        raise PhotoError(
            f"{folder}: holds no photos ({kind} layout).",
            "Put JPEG, PNG, WebP, BMP, TIFF, AVIF, GIF or HEIC files there."
            + (f" It has {len(listing.not_photos)} other files." if listing.not_photos else ""),
        )
    return listing


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


def _layout(folder: Path) -> str:
    if _flickr_table(folder) is not None:
        return "flickr30k"
    if _metadata_file(folder) is not None:
        return "metadata"
    if any(child.is_dir() and KOHYA.fullmatch(child.name) for child in folder.iterdir()):
        return "kohya"
    return "folder"


def _photos(folder: Path, listing: Listing, *, top: Path | None = None) -> Iterator[Path]:
    """Photo files directly in `folder`, sorted; everything else is put on record."""
    top = (top or folder).resolve()
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in IGNORED or path.is_dir():
            continue
        if path.suffix.lower() not in SUFFIXES:
            if path.suffix.lower() != ".txt":
                listing.not_photos.append(path.name)
        elif not path.resolve().is_relative_to(top):
            listing.refused.append((path.name, "is a link that leaves the photo folder"))
        else:
            yield path


def _read_folder(folder: Path, template: str) -> Listing:
    listing = Listing("folder")
    for path in _photos(folder, listing):
        listing.sources.append(_captioned(path, template, "template", 1))
    inner = [p.name for p in sorted(folder.iterdir()) if p.is_dir() and p.name != "masks"]
    inner = [name for name in inner if not name.startswith(".")]
    if inner:
        listing.notes.append(
            f"folders inside are not read: {', '.join(inner[:5])}; move their photos up, or name"
            " them like 10_name class"
        )
    return listing


def _captioned(path: Path, default: str, origin: str, repeats: int) -> Source:
    """With the side-car caption, one a line, where there is one."""
    sidecar = path.with_suffix(".txt")
    if sidecar.is_file():
        lines = [" ".join(line.split()) for line in _text(sidecar).splitlines()]
        captions = tuple(line for line in lines if line)
        if captions:
            return Source(path, captions, "txt", repeats)
    return Source(path, (default,), origin, repeats)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()[: MAX_CAPTION_BYTES + 1]
        if len(data) > MAX_CAPTION_BYTES:
            raise PhotoError(f"{path.name}: more than {MAX_CAPTION_BYTES} bytes are no caption.")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PhotoError(f"{path.name}: is not UTF-8 text.", "Save it as UTF-8.") from None


def _read_kohya(folder: Path, template: str) -> Listing:
    listing = Listing("kohya")
    for child in sorted(p for p in folder.iterdir() if p.is_dir()):
        match = KOHYA.fullmatch(child.name)
        if not match:
            listing.notes.append(f"folder {child.name} has no number of repeats and is not read")
            continue
        repeats = int(match.group(1))
        if repeats == 0:
            listing.notes.append(f"folder {child.name} has 0 repeats and is not read")
            continue
        for path in _photos(child, listing, top=folder):
            listing.sources.append(_captioned(path, match.group(2).strip(), "folder name", repeats))
    return listing


def _metadata_file(folder: Path) -> Path | None:
    for place in (folder, folder / "train"):
        for name in METADATA:
            if (place / name).is_file():
                return place / name
    return None


def _read_metadata(folder: Path, template: str) -> Listing:
    table = _metadata_file(folder)
    if table is None:
        raise PhotoError(f"{folder}: has no metadata.jsonl or metadata.csv.")
    listing = Listing("metadata")
    captions: dict[Path, list[str]] = {}
    for line, row in _rows(table, listing):
        where = f"{table.name} line {line}"
        name, caption = row.get("file_name"), _caption(row)
        path = _inside(table.parent, name) if isinstance(name, str) and name else None
        if path is None:
            listing.refused.append((where, f"file_name {name!r} names no file below the folder"))
        elif caption is None:
            listing.refused.append((where, f"no caption in {' / '.join(CAPTION_FIELDS)}"))
        elif not path.is_file():
            listing.refused.append((where, f"{name}: there is no such file"))
        else:
            captions.setdefault(path, []).append(caption)
    listing.sources = [Source(p, tuple(texts), "metadata") for p, texts in captions.items()]
    _refuse_unlisted(table.parent, captions, listing, table.name)
    return listing


def _rows(table: Path, listing: Listing) -> Iterator[tuple[int, dict]]:
    """(line number, row) of a .jsonl or .csv table; broken lines are refused by number."""
    text = table.read_text(encoding="utf-8-sig", errors="replace")
    if table.suffix == ".csv":
        reader = csv.DictReader(text.splitlines())
        for row in reader:
            yield reader.line_num, row
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            yield number, row
        else:
            listing.refused.append((f"{table.name} line {number}", "is not a JSON object"))


def _caption(row: dict) -> str | None:
    for name in CAPTION_FIELDS:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return " ".join(value.split())
    return None


def _inside(folder: Path, name: str) -> Path | None:
    """`folder / name` if that stays below `folder`, else None."""
    if PurePosixPath(name).is_absolute() or ":" in name:
        return None
    path = folder / name.replace("\\", "/")
    return path if path.resolve().is_relative_to(folder.resolve()) else None


def _refuse_unlisted(folder: Path, listed: dict, listing: Listing, table: str) -> None:
    for path in _photos(folder, listing):
        if path not in listed:
            listing.refused.append((path.name, f"is not listed in {table}"))
    listing.not_photos = [name for name in listing.not_photos if name not in METADATA]


def _flickr_table(folder: Path) -> Path | None:
    for place in (folder, folder / "flickr30k_images"):
        if (place / "results.csv").is_file():
            return place / "results.csv"
    return None


def _read_flickr30k(folder: Path, template: str) -> Listing:
    table = _flickr_table(folder)
    if table is None:
        raise PhotoError(f"{folder}: has no results.csv (flickr30k layout).")
    listing = Listing("flickr30k")
    images = table.parent / "flickr30k_images"
    images = images if images.is_dir() else table.parent
    captions: dict[str, list[str]] = {}
    with table.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if number == 1 and line.split("|")[0].strip() == "image_name":
                continue
            if line.strip():
                _take_flickr_row(number, line, captions, listing)
    for name, texts in captions.items():
        path = _inside(images, name)
        if path is None or not path.is_file():
            listing.refused.append((name, "is listed in results.csv but there is no such file"))
        else:
            listing.sources.append(Source(path, tuple(texts), "results.csv"))
    for path in _photos(images, listing):
        if path.name not in captions:
            listing.refused.append((path.name, "is not listed in results.csv"))
    listing.not_photos = [name for name in listing.not_photos if name != "results.csv"]
    return listing


def _take_flickr_row(
    number: int, line: str, captions: dict[str, list[str]], listing: Listing
) -> None:
    """`name| 0| caption`; one published row lacks its second separator and is recovered."""
    parts = [part.strip() for part in line.split("|", 2)]
    if len(parts) == 2 and (match := re.fullmatch(r"(\d)\s+(\S.*)", parts[1])):
        parts = [parts[0], match.group(1), match.group(2)]
        listing.notes.append(f"results.csv line {number}: its missing separator was recovered")
    if len(parts) == 3 and parts[0] and parts[1].isdigit() and parts[2]:
        captions.setdefault(parts[0], []).append(" ".join(parts[2].split()))
    else:
        shown = line.strip()[:60]
        reason = f"is not `name| number| caption`: {shown!r}"
        listing.refused.append((f"results.csv line {number}", reason))


def _with_mask(folder: Path, source: Source) -> Source:
    for suffix in (".png", source.path.suffix):
        mask = folder / "masks" / f"{source.path.stem}{suffix}"
        if mask.is_file():
            return Source(source.path, source.captions, source.origin, source.repeats, mask)
    raise PhotoError(
        f"masks/{source.path.stem}.png: is missing, and data.masks is folder.",
        "Every photo needs its mask; white is learnt, black is not.",
    )


_READERS = {
    "folder": _read_folder,
    "kohya": _read_kohya,
    "metadata": _read_metadata,
    "flickr30k": _read_flickr30k,
}
