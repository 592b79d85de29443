"""What each file of a folder is, by its name."""

from pathlib import Path

import pytest
from PIL import Image

from kaiffin.data import files, formats


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "Thumbs.db", "THUMBS.DB", "._a.jpg", "desktop.ini", "Desktop.ini", "@eaDir",
     "__MACOSX", ".hidden", "~$draft.docx", "Icon\r", "#recycle"],
)  # fmt: skip
def test_what_systems_leave_behind_is_passed_over_everywhere(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / name / "small.png")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / name).write_text("x")
    assert files.is_leftover(name)
    assert files.photos_in(tmp_path) == [tmp_path / "a.png"]
    assert list(files.walk(tmp_path)) == [tmp_path / "a.png"]
    assert files.account(tmp_path, {tmp_path / "a.png"}) == []


@pytest.mark.parametrize("end", formats.MASK_ENDS)
def test_a_mask_is_one_where_its_photo_is(tmp_path: Path, end: str) -> None:
    for name in ("p.jpg", f"P{end.upper()}.png", f"alone{end}.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert [path.name for path in files.photos_in(tmp_path)] == [f"alone{end}.png", "p.jpg"]


def test_many_of_a_kind_are_counted() -> None:
    one = files.LeftOut(formats.OTHERS, tuple(f"{i}.x" for i in range(1200)))
    assert one.what == "other files are not used (1,200): 0.x, 1.x, 2.x, 3.x, 4.x and 1,195 more"


def test_a_name_that_is_not_unicode_is_refused_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.png"
    try:
        path.write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes Unicode only")
    assert "not UTF-8" in str(files.refusal(path, tmp_path, links=False))
    assert files.shown(path, tmp_path) == "caf\\xe9.png"
    assert files.shown(tmp_path / "two\nlines\x1b.png", tmp_path) == "two\\nlines\\x1b.png"


def test_a_photo_that_is_still_in_the_cloud_is_told(tmp_path: Path) -> None:
    """iCloud leaves `.name.icloud` where the photo would be."""
    (tmp_path / ".p2.jpg.icloud").write_bytes(b"bplist00")
    told = files.account(tmp_path, ())
    assert [one.what for one in told] == ["unfinished downloads cannot be read (1): .p2.jpg.icloud"]
