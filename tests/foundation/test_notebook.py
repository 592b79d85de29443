"""The voice in a notebook, as a kernel would be told it."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from kaiffin.foundation import notebook
from kaiffin.foundation.notebook import Notebook, Shown, as_html
from kaiffin.foundation.tell import Table


class Place:
    """What `display(..., display_id=True)` answers with."""

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def update(self, html: Any) -> None:
        self.shown.append(html.data)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is displayed as HTML, in order."""
    found: list[str] = []

    def display(html: Any, display_id: bool = False) -> Place:
        found.append(getattr(html, "data", html))
        return Place(found)

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(notebook, "EVERY", 0)
    return found


def test_a_wait_says_how_far_it_is_and_draws_its_curve(shown: list[str]) -> None:
    with Notebook().progress("training", 4) as wait:
        wait.update(0)
        for step in range(1, 4):
            wait.plot(1 / step)
            wait.update(step, text="loss <0.1")
    assert 'value="3" max="4"' in shown[-2]
    assert "training: 3 of 4, about 0 s left" in shown[-2]
    assert "loss &lt;0.1" in shown[-2]
    points = shown[-2].partition('points="')[2].partition('"')[0].split()
    assert [point.split(",")[0] for point in points] == ["0.0", "210.0", "420.0"]
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == sorted(heights), "it falls"
    assert "done in 0 s" in shown[-1]


def test_a_wait_of_unknown_length_has_no_bar(shown: list[str]) -> None:
    with Notebook().progress("photos") as wait:
        wait.advance()
    assert "<progress" not in shown[-1]
    assert "<svg" not in shown[-1]
    assert "photos: 1, done" in shown[-1]


def test_notes_tables_and_pictures(
    shown: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell, path = Notebook(), tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    tell.note("one line")
    tell.warning("look")
    tell.picture(path, "a picture")
    assert capsys.readouterr().out == "one line\nwarning: look\na picture\n"
    assert shown.pop() == path.read_bytes()
    with tell.progress("pictures", 1):
        tell.picture(path)  # counted, not shown
    assert all("pictures" in text for text in shown)
    tell.table(Table(["name", "<b>"], [["a", "1"]], "title"))
    assert shown[-1] == as_html(Table(["name", "<b>"], [["a", "1"]], "title"))
    assert "<caption>title</caption>" in shown[-1]
    assert "<th>&lt;b&gt;</th>" in shown[-1]


def test_a_value_shows_its_sheet(tmp_path: Path) -> None:
    class Value(Shown):
        sheet: Path | None = None

    assert Value()._repr_png_() is None
    assert Shown()._repr_png_() is None
    value = Value()
    value.sheet = tmp_path / "sheet.png"
    value.sheet.write_bytes(b"png")
    assert value._repr_png_() == b"png"
