"""`kaiffin report`: runs as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kaiffin.experiments.report.evidence import read
from kaiffin.experiments.report.page import write
from kaiffin.foundation.errors import RunError
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT, Tell


@dataclass(frozen=True)
class Report:
    """A page of runs. path: one HTML file, which needs nothing else; runs: their folders."""

    path: Path
    runs: tuple[Path, ...]


def report(folders: Sequence[Path], out: Path | None = None, *, tell: Tell = SILENT) -> Report:
    """Writes the page of the runs in `folders`, of several subjects a section each.

    folders: run folders, or folders of sweeps, which hold runs/; out: default is report.html in the
    run, or here for many. Raises RunError for a folder without a run and for a file that is there
    already and is no report.
    """
    found = [run for folder in folders for run in runs_in(folder)]
    runs = list({run.path.resolve(): run for run in found}.values())
    target = out or (runs[0].report_path if len(runs) == 1 else Path("report.html"))
    evidence = []
    with tell.progress("runs", len(runs)) as progress:
        for run in runs:
            evidence += [read(own) for own in run.by_subject()]
            progress.advance()
    return Report(write(evidence, target), tuple(run.path for run in runs))


def runs_in(folder: Path) -> list[Run]:
    """The run, or the runs of a sweep in order of their names."""
    if (folder / "config.yaml").is_file() or not (folder / "runs").is_dir():
        return [Run.open(folder)]
    found = sorted(path.parent for path in (folder / "runs").glob("*/config.yaml"))
    if not found:
        raise RunError(f"{folder / 'runs'}: holds no runs.", "Run `kaiffin sweep` to its end.")
    return [Run.open(path) for path in found]
