"""How a picture is to be turned, by its EXIF data, also where these are damaged. Torch-free."""

from __future__ import annotations

import re
import warnings

from PIL import Image

TAG = 0x0112
# How every file writes the entry of the orientation, as hex: its tag, type, count and value.
ENTRY = re.compile("1201030001000000(?:0([1-8])00)|011200030000000100(?:0([1-8]))")


def orientation(image: Image.Image, notes: list[str]) -> int:
    """1 to 8, as EXIF has it; 1 where nothing is said. What is damaged or no orientation is noted.

    Out of damaged data it is taken where its entry is still to be seen.
    """
    try:
        found = image.getexif().get(TAG)
    except Exception:  # a block of EXIF that is none; each writer breaks it in its own way
        found = None
    damaged = [] if found else [block for block in _blocks(image) if not _is_whole(block)]
    seen = [entry for block in damaged if (entry := ENTRY.search(block))]
    if seen:
        found = int(seen[0][1] or seen[0][2])
        notes.append("its EXIF data are damaged; how it is to be turned can still be read")
    elif damaged:
        notes.append(
            "its EXIF data, which say how it is to be turned, are damaged and were ignored"
        )
    turn = next((number for number in range(1, 9) if number == found), 0)
    if found and not turn:  # some cameras write 0 where they do not know
        notes.append(f"its EXIF orientation {str(found)[:20]!r} is none of 1 to 8 and was ignored")
    return turn or 1


def _blocks(image: Image.Image) -> list[str]:
    """The blocks of EXIF in a file, as hex: PNG may hold one as text, and in a JPEG one without its
    mark is none to Pillow, where only XMP has this segment, too."""
    block = image.info.get("exif")
    if block is None and "Raw profile type exif" in image.info:
        return ["".join(str(image.info["Raw profile type exif"]).split("\n")[3:])]
    segments = getattr(image, "applist", ())
    kept = [data for name, data in segments if name == "APP1" and not data.startswith(b"http")]
    return [one.hex() for one in ([block] if block else kept)]


def _is_whole(block: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of what it skips, Pillow only warns
        try:
            Image.Exif().load(bytes.fromhex(block))
        except Exception:
            return False
    return True
