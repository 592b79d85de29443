"""Damaged TIFFs are refused by name, and nothing else is on the terminal."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaiffin.data.images import open_photo
from kaiffin.foundation.errors import PhotoError

MISTYPED = (262, 273, 277, 278, 279, 284)  # photometric, strips, samples, rows, bytes, planes


def broken() -> dict[str, bytes]:
    """An LZW-packed TIFF with bytes of its pixels changed, and with tags of another type."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "TIFF", compression="tiff_lzw")
    whole = buffer.getvalue()
    (start,) = struct.unpack("<I", whole[4:8])
    found = {"pixels": whole[:1000] + bytes(500) + whole[1500:]}
    for place in range(start + 2, start + 2 + 12 * whole[start], 12):
        (tag,) = struct.unpack("<H", whole[place : place + 2])
        for kind in (7, 11, 12) if tag in MISTYPED else ():
            found[f"{tag}-{kind}"] = whole[: place + 2] + bytes([kind, 0]) + whole[place + 4 :]
    return found


@pytest.mark.parametrize("what", broken())
def test_only_the_refusal_is_said(
    what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(broken()[what])
    with pytest.raises(PhotoError) as refused:
        open_photo(path)
    assert str(refused.value).startswith("a.tif: is damaged or cut off")
    assert not any(word in str(refused.value) for word in ("b'", "Error", "decoder"))
    assert capfd.readouterr() == ("", "")


def test_such_a_file_does_print_otherwise(tmp_path: Path) -> None:
    """So that this file tests something, whatever Pillow is installed."""
    (tmp_path / "a.tif").write_bytes(broken()["273-7"])
    code = f"from PIL import Image; Image.open({str(tmp_path / 'a.tif')!r}).load()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "TIFFFetch" in done.stderr
