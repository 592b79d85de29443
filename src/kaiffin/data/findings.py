"""A photo set looked at, and what was found in it, in words. Torch-free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kaiffin.data import prepare as preparation
from kaiffin.data.inspect import Finding, Words
from kaiffin.data.prepare import Prepared
from kaiffin.data.sources import Listing
from kaiffin.data.through import Autoencoder
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.tell import SILENT, Tell


def look_at(
    data: DataConfig, subject: SubjectConfig, resolution: int, *,
    words: Words, through: Autoencoder | None, out: Path | None,
    listing: Listing | None = None, tell: Tell = SILENT,
) -> Prepared:  # fmt: skip
    """Every photo of one folder examined, and what was found told.

    words, through, listing: as `prepare` has them.
    """
    with tell.progress("photos") as progress:
        prepared = preparation.prepare(
            data, subject, resolution, words=words, through=through, out=out,
            progress=progress.update, listing=listing,
        )  # fmt: skip
    say(prepared, tell)
    return prepared


def say(prepared: Prepared, tell: Tell) -> None:
    """Notes, refusals and warnings, a few of each kind."""
    for note in prepared.notes:
        tell.note(f"note: {note}")
    _some([f"refused: {name}: {reason}" for name, reason in prepared.refused], 20, tell)
    groups: dict[str, list[str]] = defaultdict(list)  # one kind of finding has one way out
    for alike in _alike(prepared.findings):
        groups[alike[0].fix].append(f"{alike[0].level}: {_once(alike)}")
    for lines in groups.values():
        _some(lines, 4, tell)


def _alike(findings: Sequence[Finding]) -> Iterable[list[Finding]]:
    """Those that say the same of several photos together; what is for information is left out."""
    found: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for one in findings:
        if one.level != "info":
            found[one.level, one.what, one.fix].append(one)
    return found.values()


def _once(alike: Sequence[Finding]) -> Finding:
    """Of the first photo, with the number of the others."""
    first, more = alike[0], len(alike) - 1
    return replace(first, photo=f"{first.photo} (and {more:,} more)") if more else first


def _some(lines: Sequence[str], limit: int, tell: Tell) -> None:
    for line in lines[:limit]:
        tell.note(line)
    if len(lines) > limit:
        tell.note(f"  and {len(lines) - limit:,} more like it, all in manifest.json")


def refuse_shared(subjects: Sequence[Prepared]) -> None:
    """PhotoError for a photo that is of two subjects: its words would mean both."""
    known: dict[str, tuple[int, Path]] = {}
    for number, prepared in enumerate(subjects):
        for one in (*prepared.examples, *prepared.held_out):
            of, before = known.setdefault(one.sha256, (number, one.path))
            if of != number:
                raise PhotoError(
                    f"{before} and {one.path} are the same photo, and each is of another subject.",
                    "Leave it to one of them.",
                )


def refuse_problems(prepared: Prepared) -> None:
    """PhotoError naming the first of the photos' problems, if there are any."""
    if not prepared.problems:
        return
    first, more = prepared.problems[0], len(prepared.problems) - 1
    raise PhotoError(
        first.rstrip(".") + (f". And {more} more." if more else "."),
        "Mend the photos, or leave them out with --skip-bad.",
    )
