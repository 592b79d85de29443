"""What was measured of a run's adapters, which one is recommended, and choice.json, which keeps it.

The one shape of a choice: `choose` writes it, the report shows it, `compare` and `demo` make one of
a single candidate. Pictures are named from the run's folder and never leave it; one that is gone is
None. Torch-free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import RunError
from kaiffin.score.statistics import Interval, clustered

VERSION = 1  # of choice.json


@dataclass(frozen=True)
class Prompt:
    """text: for the model; plain: for the judge; section: scenes, actions, styles, class, ..."""

    text: str
    plain: str
    section: str


@dataclass(frozen=True)
class Stop:
    """The base (step 0) or one kept adapter: a stop of the slider.

    pictures: in order of prompts, then seeds; None where a file is gone. rows: the scores of each;
    means: by measure, with "overall", by which the choice is made.
    """

    step: int
    pictures: tuple[Path | None, ...]
    rows: tuple[Mapping[str, Any], ...]
    means: Mapping[str, Interval]
    adapter: str = ""
    sha256: str = ""
    loss: float | None = None

    @property
    def label(self) -> str:
        return f"step {self.step}" if self.step else "base"

    def pictures_as_json(self, folder: Path) -> dict[str, Any]:
        """The pictures, named from `folder`, and the scores of each."""
        names = [path.relative_to(folder).as_posix() if path else "" for path in self.pictures]
        return {"pictures": names, "rows": [dict(row) for row in self.rows]}

    def as_json(self, folder: Path) -> dict[str, Any]:
        """As choice.json holds a candidate."""
        means = {name: asdict(value) for name, value in self.means.items()}
        overall = means.pop("overall", None)
        return {
            "step": self.step, "adapter": self.adapter, "sha256": self.sha256, "loss": self.loss,
            **self.pictures_as_json(folder), "means": means, "overall": overall,
        }  # fmt: skip


@dataclass(frozen=True)
class Rival:
    """The candidate that the chosen one is held against; difference: of the chosen one to it."""

    step: int
    difference: Interval


@dataclass(frozen=True)
class Choice:
    """Every candidate measured, and the one that is recommended.

    references: kind, photos, ceiling and words, as `score.table.References.as_json` gives them;
    sample: how the pictures were made; chosen, highest: steps, of the recommendation and of the
    highest mean; pareto: steps that no other beats; cost: pictures and seconds.
    """

    judge: str
    identity_judge: str
    references: Mapping[str, Any]
    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    base: Stop
    candidates: tuple[Stop, ...]
    chosen: int
    highest: int
    verdict: str
    sample: Mapping[str, Any] = field(default_factory=dict)
    pareto: tuple[int, ...] = ()
    against: Rival | None = None
    findings: tuple[str, ...] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Stop:
        return next(stop for stop in self.candidates if stop.step == self.chosen)

    @property
    def stops(self) -> tuple[Stop, ...]:
        return (self.base, *self.candidates)

    @property
    def slots(self) -> list[tuple[int, int]]:
        """(number of the prompt, seed) of each picture of a stop."""
        return [(i, seed) for i in range(len(self.prompts)) for seed in self.seeds]

    def as_json(self, folder: Path) -> dict[str, Any]:
        """As choice.json in the run's `folder` holds it; `read` is the way back."""
        return {
            "version": VERSION,
            "judge": self.judge,
            "identity_judge": self.identity_judge,
            "references": dict(self.references),
            "set": {
                "prompts": [asdict(prompt) for prompt in self.prompts],
                "seeds": list(self.seeds),
                "sample": dict(self.sample),
            },
            "base": self.base.pictures_as_json(folder),
            "candidates": [stop.as_json(folder) for stop in self.candidates],
            "pareto": list(self.pareto),
            "chosen": self.chosen,
            "highest": self.highest,
            "against": asdict(self.against) if self.against else None,
            "verdict": self.verdict,
            "findings": list(self.findings),
            "cost": dict(self.cost),
        }


def read(data: Mapping[str, Any], folder: Path) -> Choice:
    """`data` as choice.json in `folder` holds it; RunError where it is not in that shape."""
    way = f"Make it again with `kaiffin choose {folder}`."
    if data.get("version") != VERSION:
        raise RunError(
            f"{folder / 'choice.json'}: is of version {data.get('version')}, not {VERSION}.", way
        )
    try:
        return _choice(data, folder)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise RunError(
            f"{folder / 'choice.json'}: is damaged ({type(error).__name__}: {error}).", way
        ) from None


def _choice(data: Mapping[str, Any], folder: Path) -> Choice:
    asked = data["set"]
    prompts = tuple(
        Prompt(str(p["text"]), str(p.get("plain") or p["text"]), str(p["section"]))
        for p in asked["prompts"]
    )
    count = len(prompts) * len(asked["seeds"])
    made = Choice(
        judge=str(data["judge"]),
        identity_judge=str(data["identity_judge"]),
        references=dict(data["references"]),
        prompts=prompts,
        seeds=tuple(int(seed) for seed in asked["seeds"]),
        base=_stop(data["base"], folder, count),
        candidates=tuple(_stop(one, folder, count) for one in data["candidates"]),
        chosen=int(data["chosen"]),
        highest=int(data.get("highest") or data["chosen"]),
        verdict=str(data.get("verdict") or ""),
        sample=dict(asked.get("sample") or {}),
        pareto=tuple(int(step) for step in data.get("pareto", ())),
        against=_rival(data.get("against")),
        findings=tuple(str(line) for line in data.get("findings", ())),
        cost=dict(data.get("cost") or {}),
    )
    if not any(stop.step == made.chosen for stop in made.candidates):
        raise ValueError(f"the chosen step {made.chosen} is no candidate")
    return made


def _stop(data: Mapping[str, Any], folder: Path, count: int) -> Stop:
    rows = tuple({k: _number(v) for k, v in row.items()} for row in data["rows"])
    if len(rows) != count or len(data["pictures"]) != count:
        raise ValueError(f"{len(rows)} rows and {len(data['pictures'])} pictures, not {count}")
    means = {str(name): _interval(v) for name, v in (data.get("means") or {}).items()}
    means = {name: value for name, value in means.items() if value} or means_of(rows)
    overall = _interval(data.get("overall"))
    loss = _number(data.get("loss"))
    return Stop(
        step=int(data.get("step") or 0),
        pictures=tuple(inside(folder, name) for name in data["pictures"]),
        rows=rows,
        means=means | ({"overall": overall} if overall else {}),
        adapter=str(data.get("adapter") or ""),
        sha256=str(data.get("sha256") or ""),
        loss=float(loss) if loss is not None else None,
    )


def _rival(data: Mapping[str, Any] | None) -> Rival | None:
    difference = _interval(data["difference"]) if data else None
    return Rival(int(data["step"]), difference) if data and difference else None


def _interval(data: Mapping[str, Any] | None) -> Interval | None:
    if not data or any(_number(data[part]) is None for part in ("mean", "low", "high")):
        return None
    mean, low, high = (float(data[part]) for part in ("mean", "low", "high"))
    return Interval(mean, low, high, int(data["n"]))


def _number(value: Any) -> Any:
    """The value, or None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def means_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
    """The mean of every measure that a row has, with its interval over prompts."""
    names = {name: None for row in rows for name, value in row.items() if _is_measure(name, value)}
    found = {}
    for name in names:
        scored = [row for row in rows if row.get(name) is not None]
        values = [float(row[name]) for row in scored]
        found[name] = clustered(values, [row["prompt"] for row in scored])
    return found


def _is_measure(name: str, value: object) -> bool:
    return name not in ("prompt", "seed") and isinstance(value, (int, float))


def difference(before: Stop, after: Stop, name: str) -> Interval | None:
    """What `name` rose by, in pairs of the same prompt and seed; None where it was not measured."""
    pairs = [
        (row["prompt"], float(row[name]) - float(first[name]))
        for first, row in zip(before.rows, after.rows, strict=True)
        if first.get(name) is not None and row.get(name) is not None
    ]
    return clustered([d for _, d in pairs], [prompt for prompt, _ in pairs]) if pairs else None


def inside(folder: Path, name: object) -> Path | None:
    """`folder / name` where that is a file within the folder, else None."""
    path = folder / str(name)
    is_within = path.resolve().is_relative_to(folder.resolve())
    return path if is_within and path.is_file() else None
