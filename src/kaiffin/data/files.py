"""What every file in a folder of photos is: the one reader of folders. Torch-free.

A layout says which files it uses; whatever else lies there is told by what it is (`account`). Only
what systems leave behind is passed over without a word (`is_leftover`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from kaiffin.data.images import SUFFIXES
from kaiffin.foundation.text import composed, is_text

LEFTOVERS = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r",
    "@eadir", "__macosx", "$recycle.bin", "#recycle", "@recycle", "system volume information",
    "lost+found",
}  # fmt: skip
CAPTION_SUFFIXES = (".txt", ".caption")
MASK_ENDS = ("-masklabel", "_masklabel", "-mask", "_mask", ".mask")
NAMED = 5  # files of one kind that are named; the rest is counted


@dataclass(frozen=True)
class Kind:
    """Files that one thing is said of. suffixes: by which they are known; lost: whether something
    that was meant for the training stays unused, which is a warning and no note."""

    name: str
    suffixes: tuple[str, ...]
    becomes: str
    way: str
    lost: bool = True

    @property
    def is_picture(self) -> bool:
        """Whether somebody may have taken such a file for one of the photos."""
        return self.becomes == UNREADABLE or self is MASKS


UNREADABLE = "cannot be read"
EXPORT = "Export them as JPEG or PNG."
PHOTOS = Kind(
    "photos in folders that this layout does not read", tuple(sorted(SUFFIXES)), "are not used",
    "Move them up, or say what lies here: --data.format kohya or folder.",
)  # fmt: skip
MASKS = Kind(
    "masks", (), "are not taken for photos, and not used",
    "--data.masks folder lets them say where the loss counts.",
)  # fmt: skip
CAPTIONS = Kind(
    "caption files", CAPTION_SUFFIXES, "are not used",
    "Name each like its photo, where the layout takes captions from such files.",
)  # fmt: skip
LINKS = Kind("links to folders", (), "are not followed", "Put the folder itself there.")
OTHERS = Kind("other files", (), "are not used", "", lost=False)
KNOWN = (
    Kind("JPEG XL", (".jxl",), UNREADABLE, EXPORT),
    Kind("JPEG 2000", (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpm"), UNREADABLE, EXPORT),
    Kind(
        "raw photos",
        (".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2",
         ".raf", ".pef", ".srw", ".x3f", ".raw", ".rwl", ".3fr", ".iiq", ".kdc", ".dcr", ".mrw",
         ".erf", ".mef", ".mos", ".gpr"),
        UNREADABLE, "Develop them and export JPEG or PNG.",
    ),
    Kind(
        "videos",
        (".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".3gp", ".mts",
         ".m2ts", ".insv", ".flv", ".ogv"),
        UNREADABLE, "Export single pictures from them.",
    ),
    Kind(
        "pictures of other formats",
        (".psd", ".psb", ".xcf", ".kra", ".svg", ".eps", ".ai", ".pdf", ".exr", ".hdr", ".tga",
         ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".ico", ".icns", ".dds", ".qoi", ".fits",
         ".dcm", ".jxr", ".wdp", ".hdp", ".bpg", ".flif", ".dib", ".insp", ".procreate"),
        UNREADABLE, EXPORT,
    ),
    Kind(
        "archives", (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz"), "are not opened",
        "Unpack them.",
    ),
    Kind(
        "metadata files",
        (".jsonl", ".json", ".json1", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".xlsx",
         ".tags", ".cap", ".captions"),
        "are not read",
        "Captions come from metadata.jsonl or metadata.csv with file_name and text, or from .txt"
        " and .caption files beside the photos.",
    ),
    Kind(
        "settings that programs keep beside photos",
        (".xmp", ".aae", ".thm", ".pp3", ".on1", ".dop"),
        "are not applied", "Export the photos as they are to look.", lost=False,
    ),
)  # fmt: skip
BY_SUFFIX = {suffix: kind for kind in (PHOTOS, CAPTIONS, *KNOWN) for suffix in kind.suffixes}


@dataclass(frozen=True)
class LeftOut:
    """Files of one kind that are not used, by their names below the photos' folder."""

    kind: Kind
    names: tuple[str, ...]

    @property
    def what(self) -> str:
        """`videos cannot be read (3): a.mov, b.mov, c.mov`."""
        more = f" and {len(self.names) - NAMED:,} more" if len(self.names) > NAMED else ""
        shown = ", ".join(self.names[:NAMED])
        return f"{self.kind.name} {self.kind.becomes} ({len(self.names):,}): {shown}{more}"


def is_leftover(name: str) -> bool:
    """Whether systems leave such a file or folder behind: `.DS_Store`, `Thumbs.db`, `._photo.jpg`,
    `@eaDir`, and all whose name begins with a dot."""
    return name.startswith((".", "~$")) or name.lower() in LEFTOVERS


def kind_of(path: Path) -> Kind:
    """By its suffix, in any case."""
    return BY_SUFFIX.get(path.suffix.lower(), OTHERS)


def is_photo(path: Path) -> bool:
    """By its suffix; what it holds shows when it is opened."""
    return kind_of(path) is PHOTOS


def photos_in(folder: Path) -> list[Path]:
    """The photos right in `folder`, by name: no leftovers, no masks of other photos."""
    names = sorted(name for name in os.listdir(folder) if not is_leftover(name))
    paths = [folder / name for name in names]
    photos = [path for path in paths if is_photo(path) and not path.is_dir()]
    stems = {composed(path.stem).casefold() for path in photos}
    return [path for path in photos if masked(path) not in stems]


def masked(path: Path) -> str | None:
    """The stem, casefolded, of the photo that `path` would be the mask of: `p1` for
    `p1-masklabel.png`, None for names that no mask has."""
    stem = composed(path.stem).casefold()
    return next((stem.removesuffix(end) for end in MASK_ENDS if stem.endswith(end)), None)


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
    """The name below `top`, as it can be printed."""
    name = path.relative_to(top) if path.is_relative_to(top) else Path(path.name)
    return os.fsencode(name.as_posix()).decode("utf-8", errors="backslashreplace")


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
    stems = {composed(path.stem).casefold() for path in used if is_photo(path)}
    for path in walk(top):
        if path not in used and (below or path.parent == top):
            found[_unused(path, top, stems)].append(shown(path, top))
    order = (PHOTOS, MASKS, LINKS, CAPTIONS, *KNOWN, OTHERS)
    return [LeftOut(kind, tuple(found[kind])) for kind in order if kind in found]


def _unused(path: Path, top: Path, stems: Collection[str]) -> Kind:
    if path.is_symlink() and path.is_dir():
        return LINKS
    in_masks = "masks" in path.relative_to(top).parts[:-1]
    return MASKS if is_photo(path) and (in_masks or masked(path) in stems) else kind_of(path)


def table() -> str:
    """What becomes of each kind of file, in Markdown."""
    rows = [
        "| file | known by | what becomes of it |", "|---|---|---|",
        f"| photos | {_suffixes(PHOTOS)} | used; or refused by name, with the reason |",
        f"| masks | the name of a photo and {', '.join(f'`{end}`' for end in MASK_ENDS)}, or the"
        f" folder `masks` | used with `--data.masks folder`; else {MASKS.becomes}: said |",
        f"| captions | {_suffixes(CAPTIONS)} | used where they belong to a photo; else"
        f" {CAPTIONS.becomes}: said |",
        *(f"| {kind.name} | {_suffixes(kind)} | {kind.becomes}: said. {kind.way} |"
          for kind in KNOWN),
        f"| everything else | | {OTHERS.becomes}: said |",
        "| what systems leave behind | a dot or `~$` before the name, "
        + ", ".join(f"`{name.strip()}`" for name in sorted(LEFTOVERS))
        + " | passed over without a word |",
    ]  # fmt: skip
    return "\n".join(rows)


def _suffixes(kind: Kind) -> str:
    return " ".join(f"`{suffix}`" for suffix in kind.suffixes)
