"""The table of kinds of files: no suffix twice, kinds known by content, the page made from it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaiffin.data import formats

REPO = Path(__file__).parents[2]


def test_no_suffix_is_of_two_kinds() -> None:
    everything = [
        suffix
        for kind in (formats.PHOTOS, formats.CAPTIONS, *formats.KNOWN)
        for suffix in kind.suffixes
    ]
    assert len(everything) == len(set(everything)) == len(formats.BY_SUFFIX)
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in everything)
    assert set(formats.PHOTOS.suffixes) == formats.SUFFIXES


@pytest.mark.parametrize("kind", ["jpeg2000", "pdf", "eps", "ico", "dds", "ppm", "icns"])
def test_what_pillow_writes_and_kaiffin_does_not_read_is_known_by_its_content(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, kind)
    found = formats.by_content(file.getvalue())
    assert found is not None
    assert found.becomes == formats.UNREADABLE
    assert ("JPEG 2000" in found.name) == (kind == "jpeg2000")


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "tiff", "avif", "gif"])
def test_what_is_read_is_of_no_other_kind(kind: str) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, kind)
    assert formats.by_content(file.getvalue()) is None


def test_the_page_has_the_table_that_the_code_uses() -> None:
    assert formats.table() in (REPO / "docs" / "photos.md").read_text(encoding="utf-8")
