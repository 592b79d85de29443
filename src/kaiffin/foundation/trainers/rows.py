"""A table of counterparts: what each setting of another program is here, or why it is nothing.

The importer walks the rows and the documentation prints them. Torch-free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# default: left out there, and its default is written, since ours is another; needless: it has no
# effect on what is learnt, or Kaiffin does so by itself; off: has the value that switches it off.
Verdict = Literal["taken", "differs", "default", "none", "needless", "off", "unknown"]
OFF = (None, False, "", 0, "0", "none", "None", "False", "false", [])


@dataclass(frozen=True)
class Taken:
    """What a value becomes. settings: ours by their dotted names; note: where it differs."""

    settings: Mapping[str, Any]
    note: str = ""


class Unlike(ValueError):
    """A value that has no counterpart; its message says why, and what to do."""


@dataclass(frozen=True)
class Row:
    """A setting of another program. names: all its spellings.

    ours: the settings that it becomes, for people; "" has no counterpart. how: what makes them of
    a value. default: theirs, written where the setting is left out; None where ours is the same or
    the photos decide. note: the difference, or why there is no counterpart and what to do.
    """

    names: tuple[str, ...]
    ours: str = ""
    how: Callable[[Any], Taken] | None = None
    default: Any = None
    note: str = ""
    needless: bool = False


@dataclass(frozen=True)
class Finding:
    """What became of one setting. ours: settings by dotted name, empty where it became none."""

    theirs: str
    value: Any
    verdict: Verdict
    ours: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def same(names: str, ours: str, default: Any = None, note: str = "", kind: type = str) -> Row:
    """The same value under another name. kind: what it is, since command lines know only text."""
    return Row(
        _split(names), ours, lambda value: Taken({ours: as_kind(value, kind)}), default, note
    )


def number(names: str, ours: str, default: Any = None, note: str = "") -> Row:
    return same(names, ours, default, note, float)


def whole(names: str, ours: str, default: Any = None, note: str = "") -> Row:
    return same(names, ours, default, note, int)


def switch(names: str, ours: str, default: Any = None, note: str = "") -> Row:
    return same(names, ours, default, note, bool)


def choice(
    names: str, ours: str, values: Mapping[str, Any], default: Any = None, note: str = "",
    otherwise: str = "",
) -> Row:  # fmt: skip
    """One of some words, in any case. otherwise: what to do where the word has no counterpart."""

    def how(value: Any) -> Taken:
        word = str(value).lower()
        if word not in values:
            raise Unlike(otherwise or f"known here: {', '.join(map(str, values))}")
        return Taken({ours: values[word]})

    shown = f"{ours}: " + ", ".join(
        f"{theirs} is {mine}" for theirs, mine in values.items() if theirs != str(mine)
    )
    return Row(_split(names), ours, how, default, note or shown.removesuffix(": "))


def made(names: str, ours: str, how: Callable[[Any], Taken], default: Any = None,
         note: str = "") -> Row:  # fmt: skip
    """Settings that are computed from it."""
    return Row(_split(names), ours, how, default, note)


def none(names: str, why: str) -> Row:
    """No counterpart: why, and what to do."""
    return Row(_split(names), note=why)


def needless(names: str, why: str) -> Row:
    """Nothing to take: without effect on what is learnt, or done here anyway."""
    return Row(_split(names), note=why, needless=True)


def together(names: str, ours: str, default: Any = None, note: str = "") -> Row:
    """Taken by the program's `finish`, since it says something only with others."""
    return Row(_split(names), ours, None, default, note)


def as_kind(value: Any, kind: type) -> Any:
    """A value of a command line or a GUI, where everything may be text."""
    try:
        if kind is bool:
            return str(value).lower() in ("true", "1", "yes", "on")
        return int(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError):
        raise Unlike(f"{value!r} is no number") from None


def _split(names: str) -> tuple[str, ...]:
    return tuple(names.split())


class Draft:
    """A config in the making: what was given there, what is set here, and what was found.

    photos: how many photos lie right in a folder; None where it is not on this machine; ours:
    settings of ours that the person gave beside it, by dotted name.
    """

    def __init__(
        self, given: Mapping[str, Any], photos: Callable[[Path], int | None] = lambda _: None,
        ours: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.given, self.photos, self.ours = dict(given), photos, dict(ours or {})
        self.settings: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self.defaults: dict[str, Any] = {}

    def value(self, name: str, otherwise: Any = None) -> Any:
        """What was given, else their default in the table, else `otherwise`."""
        found = self.given.get(name)
        if found in (None, ""):
            found = self.defaults.get(name)
        return otherwise if found in (None, "") else found

    def number(self, name: str) -> float | None:
        found = self.value(name)
        return None if found is None else as_kind(found, float)

    def on(self, name: str) -> bool:
        return as_kind(self.value(name, False), bool)

    def take(self, theirs: str, settings: Mapping[str, Any], note: str = "") -> None:
        """Sets ours, and says which of theirs it was made of."""
        self.settings |= settings
        is_given = any(self.given.get(name) is not None for name in theirs.split(", "))
        verdict: Verdict = "differs" if note else "taken" if is_given else "default"
        self.findings.append(Finding(theirs, self.value(theirs), verdict, dict(settings), note))

    def imply(self, settings: Mapping[str, Any], why: str) -> None:
        """Sets ours as it always is there, without a setting that says so."""
        self.settings |= settings
        self.findings.append(Finding("(always there)", None, "default", dict(settings), why))

    def miss(self, theirs: str, why: str) -> None:
        """Says that something has no counterpart, unless ours was given beside it."""
        if "--subject" in why and "subject.token" in self.ours:
            return
        self.findings.append(Finding(theirs, self.given.get(theirs), "none", {}, why))

    def walk(self, rows: Iterable[Row]) -> None:
        """Everything that was given, by the table; what is not in it is unknown."""
        table = {name: row for row in rows for name in row.names}
        self.defaults = {row.names[0]: row.default for row in table.values()}
        for name, value in self.given.items():
            row = table.get(name)
            if row is None:
                verdict: Verdict = "off" if value in OFF else "unknown"
                self.findings.append(Finding(name, value, verdict))
            else:
                self._one(row, name, value)
        for row in dict.fromkeys(table.values()):
            if row.how and row.default is not None and not self.given.keys() & set(row.names):
                self._one(row, row.names[0], None)

    def _one(self, row: Row, name: str, value: Any) -> None:
        left_out = value in (None, "")
        if left_out and row.default is None:
            self.findings.append(Finding(name, value, "off"))
            return
        if not row.ours:
            verdict: Verdict = "needless" if row.needless else "none"
            verdict = "off" if value in OFF else verdict
            self.findings.append(Finding(name, value, verdict, {}, row.note))
            return
        if row.how is None:
            return
        try:
            taken = row.how(row.default if left_out else value)
        except Unlike as reason:
            self.findings.append(Finding(name, value, "none", {}, str(reason)))
            return
        self.settings |= taken.settings
        found: Verdict = "default" if left_out else "differs" if taken.note else "taken"
        shown = row.default if left_out else value
        self.findings.append(Finding(name, shown, found, taken.settings, taken.note))
