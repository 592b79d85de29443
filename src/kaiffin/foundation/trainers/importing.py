"""A training of another program as a config, and what became of each setting. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from kaiffin.foundation.config import Config
from kaiffin.foundation.settings import build, flat, override
from kaiffin.foundation.trainers import (
    ai_toolkit,
    diffusers_scripts,
    kohya_gui,
    onetrainer,
    sd_scripts,
)
from kaiffin.foundation.trainers.reading import Found, Program, read
from kaiffin.foundation.trainers.rows import OFF, Draft, Finding, Row, Verdict

# Whose settings are read by whose table: kohya_ss' file becomes sd-scripts' settings first.
TABLES: Mapping[Program, ModuleType] = {
    "sd-scripts": sd_scripts, "kohya_ss": sd_scripts, "diffusers": diffusers_scripts,
    "OneTrainer": onetrainer, "ai-toolkit": ai_toolkit,
}  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """program: whose it was; files: that were read; config: ours; settings: those that were set,
    by their dotted names; findings: what became of each of theirs."""

    program: Program
    files: tuple[Path, ...]
    config: Config
    settings: Mapping[str, Any]
    findings: Sequence[Finding]


def imported(
    source: str, given: Mapping[str, Any], photos: Callable[[Path], int | None]
) -> Imported:
    """The training in a file, or of a command line, as a config.

    given: settings of ours by dotted name, which win; photos: how many lie in a folder, None where
    it is not here. Raises ConfigError for what cannot be read and what Kaiffin does not train.
    """
    found = read(source)
    its = kohya_gui if found.program == "kohya_ss" else TABLES[found.program]
    theirs, more = its.flat(found.raw)
    draft = Draft(theirs, photos, given)
    rows: Sequence[Row] = TABLES[found.program].ROWS
    draft.walk(rows)
    _finish(found, draft)
    for folder in more:
        draft.miss(folder, "a second folder of photos: put both into one, or train in phases")
    for name in found.launcher:
        draft.findings.append(Finding(f"accelerate --{name}", None, "needless", {}, "how it runs"))
    _complete(draft, rows)
    settings = draft.settings | dict(given)
    _no_prior_without_class(draft, settings)
    config = build(override({}, settings), f"as imported from {found.program}")
    values = flat(config)
    set_here = {name: values[name] for name in settings}
    return Imported(found.program, found.files, config, set_here, tuple(draft.findings))


def _finish(found: Found, draft: Draft) -> None:
    if found.program == "diffusers":
        diffusers_scripts.finish(draft, found.script)
    else:
        TABLES[found.program].finish(draft)


def _complete(draft: Draft, rows: Sequence[Row]) -> None:
    """Whatever was given and has no word yet gets one: nothing is dropped in silence."""
    spoken = {name for one in draft.findings for name in one.theirs.split(", ")}
    spoken |= {name.partition(" ")[0] for name in spoken}
    known = {name: row for row in rows for name in row.names}
    for name, value in draft.given.items():
        if name in spoken:
            continue
        row, is_off = known.get(name), value in OFF
        verdict: Verdict = "off" if is_off else "needless" if row and row.needless else "differs"
        note = f"see {row.ours}" if row and row.ours else ""
        draft.findings.append(Finding(name, value, verdict, {}, note))


def _no_prior_without_class(draft: Draft, settings: dict[str, Any]) -> None:
    """Class pictures want a class; where none is told they are left out, and that is said."""
    has_class = settings.get("subject.noun") or settings.get("data.prior.prompt")
    if settings.get("data.prior.weight") and not has_class:
        settings["data.prior.weight"] = 0.0
        draft.miss("prior", "the class is not told: with --class, say --data.prior.weight 1, too")


def table(program: Program) -> str:
    """Markdown: every setting of a program that is known, ours, and what there is to say."""
    module = TABLES[program]
    lines = [f"| {module.TITLE} | Kaiffin | |", "|---|---|---|"]
    for row in module.ROWS:
        names = ", ".join(f"`{name}`" for name in row.names)
        ours = re.sub(r"(?<![\w.])([a-z]+[.][a-z_.]+|--[a-z]+)", r"`\1`", row.ours)
        ours = ours or ("nothing to set" if row.needless else "no counterpart")
        note = row.note
        if row.default is not None and not isinstance(row.default, bool):
            note = f"{note}; " if note else ""
            note += f"left out there: {row.default}"
        lines.append(f"| {names} | {ours} | {note.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def tables() -> str:
    """All of them, each under its heading."""
    programs: tuple[Program, ...] = ("sd-scripts", "diffusers", "OneTrainer", "ai-toolkit")
    return "\n\n".join(f"## {TABLES[name].TITLE}\n\n{table(name)}" for name in programs)


def written(made: Imported, source: str) -> str:
    """YAML of the settings that were set, and below them in comments what became none."""
    tree: dict[str, Any] = {"version": 1}
    for name, value in made.settings.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    order = {name: i for i, name in enumerate(Config.model_fields)}
    tree = dict(sorted(tree.items(), key=lambda item: order[item[0]]))
    body = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    without = [f for f in made.findings if f.verdict in ("none", "unknown")]
    lines = [f"#   {_one_line(f.theirs)}: {_one_line(f.note or 'unknown')}" for f in without]
    told = "\n".join(["", "# Without a counterpart here:", *lines, ""]) if lines else ""
    return f"# From {made.program}: {_one_line(source)}\n{body}{told}"


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
