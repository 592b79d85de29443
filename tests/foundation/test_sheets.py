"""Sheets in blocks: every picture once, at its column and row, on pages of a sane size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaiffin.foundation import sheets
from kaiffin.foundation.sheets import PAGE, PAPER, Block, pages


def coloured(folder: Path, count: int, size: tuple[int, int] = (64, 64)) -> list[Path]:
    """Files of one colour each, all different and none like the paper."""
    paths = []
    for i in range(count):
        paths.append(folder / f"{i}.png")
        Image.new("RGB", size, colour(i)).save(paths[-1])
    return paths


def colour(number: int) -> tuple[int, int, int]:
    return (number % 16 * 12, number // 16 % 16 * 12, 90)


def place(page: Image.Image, number: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the pixels of picture `number`; all in one box."""
    rows, columns = np.nonzero((np.asarray(page) == colour(number)).all(-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_columns_rows_and_blocks_are_where_their_titles_say(tmp_path: Path) -> None:
    paths = coloured(tmp_path, 12)
    blocks = [Block([paths[i : i + 3], paths[i + 3 : i + 6]], ["y", "why"], "z") for i in (0, 6)]
    (page,) = pages(blocks, ["a", "b", "c"], title="title", subtitle="subtitle")
    boxes = [place(page, i) for i in range(12)]
    assert {(right - left, bottom - top) for left, top, right, bottom in boxes} == {(160, 160)}
    lefts, tops = [box[0] for box in boxes], [box[1] for box in boxes]
    assert lefts == lefts[:3] * 4
    assert lefts[:3] == sorted({*lefts})
    assert tops == sorted(tops)
    assert len({*tops}) == 4
    assert tops[6] - tops[3] > tops[3] - tops[0]  # a block's title is between
    assert PAGE > page.width > lefts[2] + 160
    # The titles stand over the columns and beside the rows: there is ink.
    paper = Image.new("RGB", (1, 1), PAPER).getpixel((0, 0))
    over = np.asarray(page.crop((lefts[1], tops[0] - 20, lefts[2], tops[0])))
    beside = np.asarray(page.crop((0, tops[1], lefts[0], tops[1] + 160)))
    assert (over != paper).any()
    assert (beside != paper).any()


def test_shapes_are_kept_and_pictures_are_closed(tmp_path: Path) -> None:
    wide = coloured(tmp_path, 1, (96, 48))
    (page,) = pages([Block([wide], [""])], ["one"])
    left, top, right, bottom = place(page, 0)
    assert (right - left, bottom - top) == (160, 80)
    wide[0].unlink()


def test_many_pictures_become_smaller_and_then_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "PAGE", 1500)
    paths = coloured(tmp_path, 26)
    (page,) = pages([Block([paths[:12]], ["1"])], [str(i) for i in range(12)])
    assert 1500 - 30 < page.width <= 1500
    wide = list(pages([Block([paths], ["row"])], [f"column {i}" for i in range(26)]))
    assert [len(shown(page)) for page in wide] == [13, 13]
    assert max(max(page.size) for page in wide) <= 1500
    assert shown(wide[0]) + shown(wide[1]) == list(range(26))
    rows = [[path] for path in paths]
    high = list(pages([Block(rows, [f"row {i}" for i in range(26)], "block")], ["one"]))
    assert len(high) > 1
    assert max(page.height for page in high) <= 1500 + 100  # and the page's own title
    assert [i for page in high for i in shown(page)] == list(range(26))


def shown(page: Image.Image) -> list[int]:
    """The numbers of the pictures on a page."""
    there = {found for _, found in page.getcolors(1 << 24) or []}
    return [i for i in range(26) if colour(i) in there]


def test_a_long_title_is_written_whole() -> None:
    """In as many lines as it takes, above the pictures and within the page."""
    tiles = [Image.new("RGB", (64, 64), colour(1))] * 2
    short = sheets.sheet(tiles, columns=2, title="step 120 it is")
    words = "step 120 is the earliest that is shown to be as good as the best one, which is last"
    page = sheets.sheet(tiles, columns=2, title=words)
    assert page.width == short.width
    assert page.height > short.height
    upper = place(page, 1)[1]
    title = np.asarray(page.crop((0, 0, page.width, upper)))
    inked = (title != np.asarray(Image.new("RGB", (1, 1), PAPER))).any(-1)
    assert inked[: upper // 3].any()
    assert inked[upper // 2 :].any()
    assert not inked[:, -4:].any()
