"""The voice of the command line: what stories tell, on a terminal or in a pipe. Torch-free."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rich import progress as bars
from rich.console import Console
from rich.table import Table as Drawn

from kaiffin.foundation.tell import Progress, Table, Tell, duration

PATIENCE_SECONDS = 0.7  # before a bar is drawn on a terminal
PLAIN_SECONDS = 10.0  # between lines of a wait where the output is no terminal

# Markup is off: prompts, paths and names in files come from anyone, brackets and all.
console = Console(highlight=False, soft_wrap=True, markup=False)
errors = Console(highlight=False, soft_wrap=True, markup=False, stderr=True)


class Terminal(Tell):
    """Lines, tables and bars with the time left; a line now and then where there is no terminal."""

    def __init__(self, aside: bool = False) -> None:
        """aside: on stderr, since stdout is for the answer alone."""
        self.aside = aside
        self.waits = 0  # that are going on

    @property
    def out(self) -> Console:
        return errors if self.aside else console

    def note(self, text: str) -> None:
        self.out.print(text)

    def warning(self, text: str) -> None:
        self.out.print(f"warning: {text}", style="yellow" if self.out.is_terminal else None)

    def table(self, table: Table) -> None:
        if table.title:
            self.out.print(table.title)
        drawn = Drawn(*table.columns, box=None, padding=(0, 1, 0, 0))
        for row in table.rows:
            drawn.add_row(*row)
        self.out.print(drawn)

    def picture(self, path: Path, text: str = "") -> None:
        if not self.waits:  # what is waited for is counted there, not listed
            self.out.print(f"{text}: {path}" if text else str(path))

    @contextlib.contextmanager
    def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
        self.waits += 1
        try:
            if not self.out.is_terminal:
                yield _Plain(text, total, self.out)
                return
            columns = (
                bars.TextColumn(text), bars.BarColumn(), bars.MofNCompleteColumn(),
                bars.TextColumn("{task.fields[text]}"), bars.TimeRemainingColumn(),
            )  # fmt: skip
            bar = _Bar(bars.Progress(*columns, console=self.out), total)
            try:
                yield bar
            finally:
                bar.end()
        finally:
            self.waits -= 1


class Clock(Terminal):
    """With the time before each line, for what takes hours."""

    def note(self, text: str) -> None:
        super().note(f"{time.strftime('%H:%M:%S')} {text}")


class _Bar(Progress):
    """Drawn once it has been waited for a while, so that what is quick leaves no line."""

    def __init__(self, drawn: bars.Progress, total: int | None) -> None:
        super().__init__(total)
        self.drawn, self.task = drawn, drawn.add_task("", total=total, text="")
        self.late = threading.Timer(PATIENCE_SECONDS, drawn.start)
        self.late.daemon = True
        self.late.start()

    def end(self) -> None:
        self.late.cancel()
        self.late.join()  # where it begins to draw at this moment
        if self.drawn.live.is_started:
            self.drawn.stop()

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        super().update(done, total, text)
        self.drawn.update(self.task, completed=self.done, total=self.total, text=text)


class _Plain(Progress):
    """A line every ten seconds and at the end of a wait that had any."""

    def __init__(self, what: str, total: int | None, out: Console) -> None:
        super().__init__(total)
        self.what, self.out = what, out
        self.started = self.said = time.monotonic()
        self.first: int | None = None

    def update(self, done: int, total: int | None = None, text: str = "") -> None:
        super().update(done, total, text)
        now = time.monotonic()
        if self.first is None:  # what was done before, as in a resumed training, took no time here
            self.first, self.started, self.said = done, now, now
            return
        spoke = self.said > self.started
        ended = spoke and self.done == self.total
        if now - self.said < PLAIN_SECONDS and not ended:
            return
        self.said = now
        pace = (now - self.started) / max(1, self.done - self.first)
        left = f"  {duration((self.total - self.done) * pace)} left" if self.total else ""
        more = f"  {text}" if text else ""
        self.out.print(f"{self.what} {self.done}/{self.total or '?'}{more}{left}")


class Quiet(Tell):
    """Warnings, on stderr, and nothing else."""

    def warning(self, text: str) -> None:
        errors.print(f"warning: {text}")


TERMINAL = Terminal()


def voice(*, aside: bool = False, quiet: bool = False) -> Tell:
    """aside: what is told goes to stderr; quiet: no more than warnings do."""
    if quiet:
        return Quiet()
    return Terminal(aside=True) if aside else TERMINAL
