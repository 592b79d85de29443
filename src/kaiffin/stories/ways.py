"""The ways into an order's pictures besides noise: sized, seeded, named, and found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kaiffin.foundation.config import SampleConfig, SubjectConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.schema import Together
from kaiffin.foundation.subject import fill
from kaiffin.foundation.tell import Tell
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import canvas
from kaiffin.pictures.closer import refuse_outside
from kaiffin.pictures.request import Request, refuse_large, with_size
from kaiffin.pictures.source import find_photo
from kaiffin.pictures.start import File, Start


def sized(
    sample: SampleConfig, start: Start | None, family: ModelFamily, tell: Tell
) -> tuple[SampleConfig, Start | None]:
    """With the size that is left open, and what follows from it."""
    if start is None or start.image is None:
        return with_size(sample, family), start
    size = sample.size or canvas.own_size(start, family.native_size)
    canvas.remarks(start, size, sample.steps, tell)
    return sample.model_copy(update={"size": size}), canvas.fitted(start, size)


def closer_to(asked: Request, subject: SubjectConfig, family: ModelFamily) -> Request:
    """With the words by which its prompt calls the subject, where a second pass is to find it.
    ConfigError where it calls it nothing, and for a box outside."""
    start = asked.start
    if start is None or not start.is_closer:
        return asked
    refuse_outside(start, asked.width, asked.height)
    if start.box:
        return asked
    prompt = asked.read[0].texts(asked.steps)[-1]
    names = list(filter(None, [fill(start.detail, subject), subject.noun]))
    said = next((name for name in names if family.places(prompt, name)), None)
    if said is None:
        raise ConfigError(
            f"{asked.prompt!r} names no {' or '.join(names)} to be found in the picture.",
            "Name it, or say where it is with a box.",
        )
    return replace(asked, start=start.model_copy(update={"detail": said}))


def seeds(seed: int, count: int, start: Start | None) -> list[tuple[int, Start | None]]:
    """The seed of each of `count` pictures, and its way in."""
    if start is None or not start.vary:
        return [(seed + k, start) for k in range(count)]
    refuse_large(start.vary_seed, count)
    others = (start.model_copy(update={"vary_seed": start.vary_seed + k}) for k in range(count))
    return [(seed, one) for one in others]


def called(one: Request) -> str:
    """By what it differs from the others of its prompt."""
    varied = f" vary{one.start.vary_seed}" if one.start and one.start.vary else ""
    return f"seed {one.seed}{varied}"


def smaller(asked: Request, batch_size: Together) -> str:
    """What takes less memory than this picture, and as many at once."""
    if asked.start and asked.start.is_larger:
        return f"Take a smaller upscale, such as {(1 + asked.start.upscale) / 2:.3g}."
    return "Take a smaller --size." if batch_size == 1 else "Take --batch-size 1."


def with_photos(picture: Path, asked: Request, tell: Tell) -> Request:
    """With the photo and the mask of its recipe where they are now."""
    now = {}
    for name in ("image", "mask"):
        one: File | None = getattr(asked.start, name, None)
        if one is not None and (path := find_photo(picture, one)) != Path(one.path):
            tell.note(f"note: its {name} {one.path} is now {path}")
            now[name] = one.model_copy(update={"path": str(path)})
    return replace(asked, start=asked.start.model_copy(update=now)) if asked.start else asked
