"""What stories tell, as a terminal and a pipe show it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from kaiffin.cli import terminal
from kaiffin.cli.terminal import Terminal
from kaiffin.foundation.tell import Table


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where there is no terminal."""
    written = io.StringIO()
    plain = Console(file=written, highlight=False, soft_wrap=True, markup=False, width=80)
    monkeypatch.setattr(terminal, "console", plain)
    return written


def test_lines_are_what_was_told_brackets_and_all(pipe: io.StringIO) -> None:
    tell = Terminal()
    tell.note("a [bold]prompt[/bold] of 3 words")
    tell.warning("look")
    tell.picture(Path("a.png"), "preview")
    tell.table(Table(["a", "b"], [["1", "[2]"]], title="all"))
    lines = [line.rstrip() for line in pipe.getvalue().splitlines()]
    assert lines[:4] == [
        "a [bold]prompt[/bold] of 3 words",
        "warning: look",
        "preview: a.png",
        "all",
    ]
    assert [line.split() for line in lines[4:]] == [["a", "b"], ["1", "[2]"]]


def test_pictures_that_are_waited_for_are_counted_not_listed(pipe: io.StringIO) -> None:
    tell = Terminal()
    with tell.progress("pictures", 2), tell.progress("more"):
        tell.picture(Path("a.png"))
    tell.picture(Path("b.png"))
    assert pipe.getvalue() == "b.png\n"


def test_a_long_wait_says_a_line_now_and_then_and_at_its_end(
    pipe: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with Terminal().progress("training", 100) as wait:
        for step in range(10, 101, 2):  # ten were done before, which took no time here
            wait.update(step, text=f"loss {step / 100}")
            now[0] += 1
    lines = pipe.getvalue().splitlines()
    assert lines[0] == "training 30/100  loss 0.3  35 s left"
    assert lines[-1] == "training 100/100  loss 1.0  0 s left"
    assert len(lines) == 5


def test_a_short_wait_says_nothing_in_a_pipe(pipe: io.StringIO) -> None:
    with Terminal().progress("training", 3) as wait:
        for _ in range(3):
            wait.advance()
    assert not pipe.getvalue()


def test_a_terminal_has_bars_also_within_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    drawn = Console(file=written, force_terminal=True, width=100, _environ={})
    monkeypatch.setattr(terminal, "console", drawn)
    monkeypatch.setattr(terminal, "PATIENCE_SECONDS", 0.0)
    tell = Terminal()
    with tell.progress("jobs", 2) as outer, tell.progress("steps", 5) as inner:
        for bar in (outer, inner):
            bar.late.join()  # ty: ignore[unresolved-attribute]
        inner.update(5, text="loss 0.1")
        tell.note("between")
        outer.advance()
    text = written.getvalue()
    assert "jobs" in text
    assert "5/5" in text
    assert "loss 0.1" in text
    assert "between" in text


def test_a_terminal_has_no_line_of_what_was_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    drawn = Console(file=written, force_terminal=True, width=100, _environ={})
    monkeypatch.setattr(terminal, "console", drawn)
    monkeypatch.setattr(terminal, "PATIENCE_SECONDS", 600.0)
    with Terminal().progress("loading", 2) as wait:
        wait.advance()
    assert written.getvalue() == ""
