"""What the page says of one run. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from kaiffin.experiments.report import scorecards
from kaiffin.experiments.report.album import Album, Fact, Picture, spread
from kaiffin.experiments.report.evidence import Evidence, PhotoRecord
from kaiffin.experiments.report.slider import Slider, cards, slider
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.run import CONTACT_SHEET
from kaiffin.foundation.settings import dump
from kaiffin.foundation.several import number_of
from kaiffin.foundation.text import all_of, counted
from kaiffin.score.choice import Choice

MOST_PHOTOS = 24  # shown
MOST_LOOSE = 24  # pictures of images/ and of previews/ that are shown


@dataclass(frozen=True)
class Section:
    """A run as the template shows it.

    adapter: (where it is, seen from the page; SHA-256); photos: each with its picture, None where
    it is gone; contact_sheet: instead of photos that are gone; end: the smoothed loss at the end.
    """

    id: str
    evidence: Evidence
    adapter: tuple[str, str] | None
    photos: Sequence[tuple[PhotoRecord, Picture | None]]
    contact_sheet: Picture | None
    slider: Slider | None
    images: Sequence[Picture]
    previews: Sequence[Picture]
    curve: Markup | None
    held_out: Markup | None
    end: float | None

    @property
    def choice(self) -> Choice | None:
        return self.evidence.choice

    @property
    def subject(self) -> str:
        return self.evidence.run.config.subject.phrase

    @property
    def is_first(self) -> bool:
        """Whether the page says of it what is of the whole run: of several subjects, the first."""
        return number_of(self.evidence.run.config) == 0

    @property
    def config(self) -> str:
        return dump(self.evidence.run.config)

    @property
    def cards(self):
        return cards(self.slider) if self.slider else []

    @property
    def facts(self) -> list[Fact]:
        return facts(self)


def section(number: int, found: Evidence, album: Album) -> Section:
    """Takes the run's pictures into the album."""
    photos = [(photo, _photo(photo, album)) for photo in spread(found.photos, MOST_PHOTOS)]
    sheet = None
    if not all(shown for _, shown in photos):
        path = found.run.photos_manifest.with_name(CONTACT_SHEET)
        sheet = album.add(path, "Contact sheet", "all photos as they were", has_recipe=False)
    line = scorecards.loss_line(found)
    return Section(
        id=f"run{number}",
        evidence=found,
        adapter=_adapter(found, album.page),
        photos=photos,
        contact_sheet=sheet,
        slider=slider(found.choice, album) if found.choice else None,
        images=_loose(found.images, "Picture", album),
        previews=_loose(found.previews, "Preview", album),
        curve=scorecards.loss_curve(found, line) if line else None,
        held_out=scorecards.held_out_curve(found),
        end=line.even[-1] if line else None,
    )


def _photo(photo: PhotoRecord, album: Album) -> Picture | None:
    """The photo, where it is still what was trained on."""
    if photo.path is None:
        return None
    what = "photo kept to judge by" if photo.held_out else "training photo"
    facts = [
        *(("caption", caption) for caption in photo.captions),
        ("size", f"{photo.size[0]} × {photo.size[1]} pixels"),
        ("used for", "judging only: held out" if photo.held_out else "training"),
        ("SHA-256", photo.sha256),
    ]
    return album.add(
        photo.path, f"Photo {photo.name}", f"{what} {photo.name}", facts, name=photo.name,
        has_recipe=False, sha256=photo.sha256,
    )  # fmt: skip


def _loose(paths: Sequence[Path], title: str, album: Album) -> list[Picture]:
    """Pictures that belong to no evaluation, by their own recipes."""
    made = [album.add(path, title, path.stem) for path in spread(paths, MOST_LOOSE)]
    return [one for one in made if one]


def _adapter(found: Evidence, page: Path) -> tuple[str, str] | None:
    """The file to use: the chosen one, else the last."""
    best, last = found.run.best_path, found.run.adapter_path
    path = best if found.choice and best.is_file() else last
    if not path.is_file():
        return None
    link = Path(os.path.relpath(path.resolve(), page.resolve())).as_posix()
    return link, file_sha256(path)


def duration(seconds: float) -> str:
    """`45 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def facts(one: Section) -> list[Fact]:
    """All that is needed to make the run again, and what it cost; a row each."""
    found, manifest = one.evidence, one.evidence.manifest
    base = manifest.get("base") or {}
    versions = [f"Kaiffin {manifest.get('kaiffin', '?')}"]
    versions += [f"{name} {number}" for name, number in (manifest.get("versions") or {}).items()]
    rows = [
        ("command", f"kaiffin train {found.run.config_path}"),
        ("base", str(base.get("name") or found.run.config.base.name)),
        ("base weights", str(base.get("revision") or "")),
        (
            "adapter",
            f"{one.adapter[0]}\nSHA-256 {one.adapter[1]}" if one.adapter else "not there yet",
        ),
        (
            "photos",
            f"{manifest.get('num_photos', len(found.photos))}, content {manifest.get('data', '')}",
        ),
        (
            "trained",
            f"{counted(found.step, 'step')}, {counted(manifest.get('trainable') or 0, 'weight')}",
        ),
        ("derived", ", ".join(manifest.get("derived") or ())),
        ("proof", _proof(one)),
        ("versions", ", ".join(versions)),
        ("cost", _cost(found)),
    ]
    return [(name, value) for name, value in rows if value]


def _proof(one: Section) -> str:
    """Whether other programs read the adapter to the same output."""
    proof = one.evidence.proof
    if not proof:
        return "not made"
    if not proof.get("holds"):
        return "; ".join(map(str, proof.get("problems") or ["it does not hold"]))
    layers = sum((proof.get("layers") or {}).values())
    return (
        f"holds: an independent reader attaches {all_of(layers, 'layer')} and gives the same output"
        f" (difference {proof.get('difference', 0):.0e}, allowed {proof.get('allowed', 0):.0e})"
    )


def _cost(found: Evidence) -> str:
    parts = []
    if found.step:
        each = found.seconds / len(found.metrics)
        parts.append(f"training {duration(found.seconds)}, {each:.2f} s a step")
    cost = found.choice.cost if found.choice else {}
    if cost.get("pictures"):
        parts.append(
            f"{counted(cost['pictures'], 'picture')} made and judged in"
            f" {duration(cost.get('seconds') or 0)}"
        )
    return "; ".join(parts)
