"""What files in a folder of photos are, by their suffix and by how they begin. Torch-free.

One table says what is told of each kind, and makes the one in docs/photos.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff",
    ".avif", ".gif", ".heic", ".heif", ".hif",
}  # fmt: skip
LEFTOVERS = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r",
    "@eadir", "__macosx", "$recycle.bin", "#recycle", "@recycle", "system volume information",
    "lost+found",
}  # fmt: skip
CAPTION_SUFFIXES = (".txt", ".caption")
MASK_FOLDERS = ("masks", "mask")
MASK_ENDS = ("-masklabel", "_masklabel", "-mask", "_mask", ".mask")


@dataclass(frozen=True)
class Kind:
    """Files that one thing is said of. suffixes: by which they are known; lost: whether something
    that was meant for the training stays unused, which is a warning and no note; one, begins: what
    a single one is called, and how it begins whatever its suffix, as a pattern of bytes."""

    name: str
    suffixes: tuple[str, ...]
    becomes: str
    way: str
    lost: bool = True
    one: str = ""
    begins: bytes = b""

    @property
    def is_picture(self) -> bool:
        """Whether somebody may have taken such a file for one of the photos."""
        return self.becomes == UNREADABLE or self is MASKS


UNREADABLE = "cannot be read"
EXPORT = "Export them as JPEG or PNG."
PHOTOS = Kind(
    "photos in folders that this layout does not read", tuple(sorted(SUFFIXES)), "are not used",
    "Move them up; --data.format kohya reads those in folders named like 10_class.",
)  # fmt: skip
LOOSE = Kind(
    "photos beside the folders that this layout reads", (), "are not used",
    "Move them into such a folder, or read them alone: --data.format folder.",
)  # fmt: skip
MASKS = Kind(
    "masks", (), "are not taken for photos, and not used",
    "--data.masks folder lets them say where the loss counts.",
)  # fmt: skip
CAPTIONS = Kind(
    "caption files", CAPTION_SUFFIXES, "are not used",
    "Name each like its photo, where the layout takes captions from such files.",
)  # fmt: skip
FOLLOWING = Kind(
    "caption files of photos that are not used", (), "are not used", "They go with their photos.",
)  # fmt: skip
SECOND = Kind(
    "caption files of photos that have their captions from elsewhere", (), "are not used",
    "A table (metadata.jsonl, metadata.csv, results.csv) has the word where there is one; of two"
    " files for one photo the .txt has it.",
)  # fmt: skip
LINKS = Kind("links to folders", (), "are not followed", "Put the folder itself there.")
# A path alone in a file is what is left of a link where a system or an archive knows none.
STORED_LINKS = Kind(
    "links that were stored as files", (".lnk", ".url", ".webloc"), UNREADABLE,
    "Put the photos themselves there.", one="a link that was stored as a file",
    begins=rb"L\0\0\0\x01\x14\x02\0|book\0{4}mark|!<symlink>|\[InternetShortcut\]|"
    rb"(?:[^\0-\x1f<>]*[/\\][^\0-\x1f<>]*|[^\0-\x1f<>/\\]+\.(?:jpe?g|png|webp|tiff?|heic))\s*\Z",
)  # fmt: skip
OTHERS = Kind("other files", (), "are not used", "", lost=False)
KNOWN = (
    Kind(
        "JPEG XL", (".jxl",), UNREADABLE, EXPORT, one="JPEG XL",
        begins=rb"\xff\x0a|\0\0\0\x0cJXL ",
    ),
    Kind(
        "JPEG 2000", (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpm"), UNREADABLE, EXPORT,
        one="JPEG 2000", begins=rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    ),
    Kind(
        "raw photos",
        (".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2",
         ".raf", ".pef", ".srw", ".x3f", ".raw", ".rwl", ".3fr", ".iiq", ".kdc", ".dcr", ".mrw",
         ".erf", ".mef", ".mos", ".gpr"),
        UNREADABLE, "Develop them and export JPEG or PNG.", one="a raw photo",
        begins=rb"II\*\0.{4}CR|.{4}ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM",
    ),
    Kind(
        "videos",
        (".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".wmv", ".mpg", ".mpeg", ".3gp", ".mts",
         ".m2ts", ".insv", ".flv", ".ogv"),
        UNREADABLE, "Export single pictures from them.", one="a video",
        begins=rb".{4}ftyp(?:iso|mp4|mp5|qt  |M4V|avc1|3g|MSNV|dash|f4v)|.{4}(?:moov|mdat|wide)|"
        rb"RIFF.{4}AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|FLV\x01|OggS|\x30\x26\xb2\x75",
    ),
    Kind(
        "pictures of other formats",
        (".psd", ".psb", ".xcf", ".kra", ".svg", ".eps", ".ai", ".pdf", ".exr", ".hdr", ".tga",
         ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".ico", ".icns", ".dds", ".qoi", ".fits",
         ".dcm", ".jxr", ".wdp", ".hdp", ".bpg", ".flif", ".dib", ".insp", ".procreate"),
        UNREADABLE, EXPORT, one="a picture of another format",
        begins=rb"8BPS|%PDF|%!PS|gimp xcf|\s*(?:<\?xml.{0,1000}?)?<svg|v/1\x01|#\?RADIANCE|"
        rb"P[1-7]\s|\0\0[\x01\x02]\0|icns|DDS |qoif|SIMPLE  =|II\xbc\x01|BPG\xfb|FLIF",
    ),
    Kind(
        "archives", (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz"), "are not opened",
        "Unpack them.", one="an archive",
        begins=rb"PK\x03\x04|Rar!\x1a\x07|7z\xbc\xaf|\x1f\x8b",
    ),
    Kind(
        "web pages", (".html", ".htm", ".mht", ".mhtml"), "are not read",
        "Download the photos themselves.", one="a web page",
        begins=rb"(?i:(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml))",
    ),
    Kind(
        "unfinished downloads", (".crdownload", ".part", ".partial", ".download", ".icloud"),
        UNREADABLE, "Let them come to their end.",
        one="a pointer of Git LFS and not the file itself",
        begins=rb"version https://git-lfs",
    ),
    STORED_LINKS,
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
HEAD = 4096  # bytes by which a file is known


def kind_of(path: Path) -> Kind:
    """By its suffix, in any case."""
    return BY_SUFFIX.get(path.suffix.lower(), OTHERS)


def is_photo(path: Path) -> bool:
    """By its suffix; what it holds shows when it is opened."""
    return kind_of(path) is PHOTOS


def by_content(data: bytes) -> Kind | None:
    """What a file is, by how it begins; None where no kind begins so."""
    head = data[:HEAD]
    known = (kind for kind in KNOWN if kind.begins)
    return next((kind for kind in known if re.match(kind.begins, head, re.DOTALL)), None)


def table() -> str:
    """What becomes of each kind of file, in Markdown."""
    rows = [
        "| file | known by | what becomes of it |", "|---|---|---|",
        f"| photos | {_suffixes(PHOTOS)} | used; or refused by name, with the reason: damaged, too"
        " large, or what its content is |",
        f"| masks | the name of a photo and {_code(MASK_ENDS)}, or the folder {_code(MASK_FOLDERS)}"
        f" | used with `--data.masks folder`; else {MASKS.becomes}: said |",
        f"| captions | {_suffixes(CAPTIONS)} | used where they belong to a photo; else"
        f" {CAPTIONS.becomes}: said |",
        *(f"| {kind.name} | {_suffixes(kind)} | {kind.becomes}: said. {kind.way} |"
          for kind in KNOWN),
        f"| everything else | | {OTHERS.becomes}: said |",
        "| what systems leave behind | a dot or `~$` before the name, "
        + _code(sorted(name.strip() for name in LEFTOVERS))
        + " | passed over without a word |",
    ]  # fmt: skip
    return "\n".join(rows)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _suffixes(kind: Kind) -> str:
    """As the table names them; a kind with `begins` is known by its content, too."""
    named = " ".join(f"`{suffix}`" for suffix in kind.suffixes)
    return f"{named}, or its content" if kind.begins else named
