"""Why a file that is named like a photo cannot be opened as one, by what it holds. Torch-free."""

from __future__ import annotations

import io
from collections.abc import Collection

from PIL import Image, TiffImagePlugin
from PIL.TiffTags import lookup

from kaiffin.data.formats import HEAD, STORED_LINKS, by_content

NUMBERS = {1: "integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex"}
DAMAGED = "Copy it again from where it came from."


def why(data: bytes, known: Collection[str]) -> tuple[str, str]:
    """(what the file is, the way out), to follow the file's name. known: Pillow's names of the
    formats that are read, none of which could open it."""
    kind = by_content(data)
    if kind is STORED_LINKS:
        target = data.decode(errors="replace").strip()
        where = f" ({target[:100]})" if target.isprintable() and len(data) <= HEAD else ""
        return f"is {kind.one}{where}.", kind.way
    if kind is not None:
        return f"is {kind.one}, whatever its name says.", kind.way
    if layout := _tiff_layout(data):
        return (
            f"is a TIFF of a kind that cannot be read: {layout}.",
            "Export it with 8 or 16 bits a channel, or as PNG.",
        )
    if any(Image.OPEN[name][1](data[:16]) is True for name in known if Image.OPEN[name][1]):
        return "is damaged or cut off at its beginning.", DAMAGED
    return "is not a picture, whatever its name says.", "Remove it."


def _tiff_layout(data: bytes) -> str:
    """`3 x 32-bit floats`, and how it is compressed; "" for what is no TIFF, or says none of it, or
    is of a kind that is read: then it is damaged."""
    size = 16 if data[2:3] == b"+" or data[3:4] == b"+" else 8
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:size])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bits = tags[TiffImagePlugin.BITSPERSAMPLE]
        count = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, len(bits))
        numbers = NUMBERS[tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0]]
        code = tags.get(TiffImagePlugin.COMPRESSION, 1)
        colours = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 1)
        is_read = numbers == "integers" and bits[0] == 8 and count in (1, 3) and colours in (1, 2)
        whole = all(isinstance(number, int) for number in (count, code, colours, *bits))
    except Exception:  # damaged tags raise many kinds
        return ""
    if not whole or (is_read and code in TiffImagePlugin.COMPRESSION_INFO):
        return ""
    names = {value: name for name, value in lookup(TiffImagePlugin.COMPRESSION).enum.items()}
    packed = "" if code == 1 else f", compression {names.get(code, code)}"
    return f"{count} x {bits[0]}-bit {numbers}{packed}"
