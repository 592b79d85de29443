"""Caption files found by the photo's name, and tables read whatever separates their columns."""

import csv
import io
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiffin.data.captions import SEPARATORS, BadCaption, Beside, lines, rows
from kaiffin.foundation.errors import PhotoError

E_ACUTE = ("\u00e9", "e\u0301")


@pytest.mark.parametrize(
    "suffix", [".txt", ".TXT", ".Caption", ".jpg.txt", ".JPG.TXT", ".JPG.caption"]
)
@pytest.mark.parametrize(("photo", "text"), itertools.product(E_ACUTE, E_ACUTE))
def test_a_caption_is_found(tmp_path: Path, suffix: str, photo: str, text: str) -> None:
    (tmp_path / f"{text}t{text}{suffix}").write_text("kaiffin")
    found = Beside(tmp_path).of(tmp_path / f"{photo}t{photo}.jpg")
    assert found is not None
    assert lines(found) == ("kaiffin",)


def test_the_whole_name_goes_before_the_stem_and_txt_before_caption(tmp_path: Path) -> None:
    for name in ("a.txt", "a.caption", "a.jpg.caption", "b.txt", "._a.txt", "c.txt.bak"):
        (tmp_path / name).write_text(name)
    beside = Beside(tmp_path)
    assert beside.of(tmp_path / "a.jpg") == tmp_path / "a.jpg.caption"
    assert beside.of(tmp_path / "a.png") == tmp_path / "a.txt"
    assert beside.of(tmp_path / "c.png") is None


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\r\n two   words \rthree".encode())
    assert lines(path) == ("one", "two words", "three")
    path.write_bytes(b"caf\xe9")
    with pytest.raises(BadCaption, match="neither UTF-8"):
        lines(path)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1).filter(
    lambda text: text.strip() and not text.startswith("\ufeff")
)


@given(
    st.lists(TEXT, min_size=1, max_size=5), st.sampled_from(SEPARATORS),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)  # fmt: skip
def test_a_table_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], separator: str, encoding: str
) -> None:
    """Quoted separators, quotes and line breaks; oracle: the writer of Python's csv module."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerow(["file_name", "text"])
    writer.writerows([f"{i}.png", text] for i, text in enumerate(texts))
    path = tmp_path_factory.getbasetemp() / "metadata.csv"
    path.write_bytes(page.getvalue().encode(encoding))
    import unicodedata

    found = [row.caption for row in rows(path)]
    assert found == [unicodedata.normalize("NFC", " ".join(text.split())) for text in texts]


def test_rows_are_named_by_their_first_line(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_bytes(b'file_name;text\n\na.png;"two\nlines"\nb.png;caf\xe9\nc.png;\n;x\n')
    found = [(row.line, row.reason) for row in rows(path)]
    assert [line for line, _ in found] == [3, 5, 6, 7]
    assert found[0][1] is None
    assert "UTF-8" in str(found[1][1])
    assert "no caption" in str(found[2][1])


@pytest.mark.parametrize(("separator", "cells"), [(",", 3), (";", 3), ("\t", 2)])
def test_a_caption_is_not_cut_at_a_separator_that_nobody_quoted(
    tmp_path: Path, separator: str, cells: int
) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text(f"file_name{separator}text\na.png{separator}one, two; three{separator}\n")
    (row,) = rows(path)
    if cells == 2:
        assert row.caption == "one, two; three"
    else:
        assert (
            row.reason == f"has {cells + 1} cells where 2 columns are named; put quotes round a"
            f" cell that holds {separator!r}"
        )


def test_a_quote_that_is_never_closed_takes_no_rows_with_it(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text('file_name,text\na.png,one "two" 3\nb.png,"four\nc.png,five\n')
    good, bad = rows(path)
    assert good.caption == 'one "two" 3'
    assert (bad.line, bad.reason) == (3, "opens a quote that is never closed")


@pytest.mark.parametrize("head", ["name,text", "file_name,words", "", "\x00"])
def test_a_table_without_its_columns_is_refused_once(tmp_path: Path, head: str) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text(f"{head}\na.png,x\n")
    with pytest.raises(PhotoError, match=r"metadata\.csv: has no column"):
        list(rows(path))


@given(st.binary(max_size=300), st.sampled_from(["csv", "jsonl"]))
def test_any_bytes_are_rows_or_refusals(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"metadata.{suffix}"
    path.write_bytes(data)
    try:
        for row in rows(path):
            assert row.reason or (row.file_name and row.caption)
    except PhotoError:
        assert suffix == "csv"
