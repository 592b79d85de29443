"""The pictures of docs/teaching.md: sets of photos, good and bad, and what `prepare` says of them.

Drawn, not taken: the miniature's world, at twice its size. No training; half a minute.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import stage
from PIL import Image, ImageEnhance, ImageFilter
from stage import GUIDES, TAUGHT, WORK, save

from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import SILENT
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import POSES
from kaiffin.stories.prepare import prepare

SIDE = 128
WHO = world.SUBJECTS["kaiffin"]
PLACES = (*TAUGHT, "snow", "city", "forest")


def shot(place: str, **more: object) -> Image.Image:
    return world.render(world.subject_spec("kaiffin", place, **more), SIDE)


def good() -> list[Image.Image]:
    """Six places, the poses in turn, nearer and farther."""
    return [
        shot(place, pose=POSES[i % len(POSES)], size=0.68 - 0.04 * (i % 4), x=0.44 + 0.03 * i)
        for i, place in enumerate(PLACES)
    ]


def alike() -> list[Image.Image]:
    """A burst: one place, one pose."""
    return [shot("meadow", detail=7, x=0.48 + 0.005 * i) for i in range(6)]


def far() -> list[Image.Image]:
    """The subject somewhere in the picture."""
    return [shot(place, size=0.24, x=0.3 + 0.06 * i) for i, place in enumerate(PLACES)]


def wide() -> list[Image.Image]:
    """The subject at the edge of wide photos: the square crop cuts it off."""
    found = []
    for place in PLACES:
        page = Image.new("RGB", (2 * SIDE, SIDE))
        page.paste(shot(place), (0, 0))
        page.paste(world.render(world.Spec("cat", "black", place), SIDE), (SIDE, 0))
        found.append(page)
    return found


def soft() -> list[Image.Image]:
    """Out of focus and dark."""
    blurred = (image.filter(ImageFilter.GaussianBlur(5)) for image in good())
    return [ImageEnhance.Brightness(image).enhance(0.45) for image in blurred]


SETS: dict[str, Callable[[], list[Image.Image]]] = {
    "other places, other poses": good, "a burst": alike, "far away": far,
    "at the edge of wide photos": wide, "out of focus and dark": soft,
}  # fmt: skip


def teaching() -> None:
    rows = []
    for name, made in SETS.items():
        folder = WORK / "sets" / name.replace(" ", "-").replace(",", "")
        shutil.rmtree(folder, ignore_errors=True)
        images = made()
        said = _said(images, folder)
        save(f"teaching-{made.__name__}", images, ["" for _ in images], folder=GUIDES, columns=6)
        rows.append(f"{name} | {said}")
    stage.note("teaching", stage.table("set | what `kaiffin prepare` says", rows))


def _said(images: list[Image.Image], folder: Path) -> str:
    """The warnings, each kind once with how often."""
    (folder / "photos").mkdir(parents=True)
    for i, image in enumerate(images, 1):
        image.save(folder / "photos" / f"{i}.png")
    given = {
        "data.photos": folder / "photos", "subject.token": WHO.token,
        "subject.noun": WHO.class_noun,
    }  # fmt: skip
    found = prepare(build(override({}, given)), folder / "prepared", tell=SILENT).prepared
    kinds: dict[str, list[str]] = {}
    for one in found.findings:
        if one.level != "info":
            kinds.setdefault(one.fix, []).append(one.what)
    return "; ".join(f"{len(what)} x {what[0]}" for what in kinds.values()) or "nothing"
