"""The picture that a link to a report shows: before, after, and what the scores say. Torch-free."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from kaiffin.experiments.report.evidence import Evidence
from kaiffin.foundation.sheets import INK, PAPER, SOFT
from kaiffin.score.catalogue import MEASURES, leading, reading
from kaiffin.score.choice import Choice

WIDTH, HEIGHT = 1200, 630  # pixels, as pages that show links ask
SIDE, EDGE = 440, 48  # of a picture, round the whole
LEAST = 26  # points of the smallest letters: legible at half the size
SUBJECT = ("scenes", "actions", "styles")


def pair(choice: Choice) -> tuple[Path, Path, str] | None:
    """The base's and the chosen checkpoint's picture of one prompt and seed, and the prompt: that
    which came nearest to the subject; None where no pair is left that can be opened."""
    found = []
    for slot, (number, _) in enumerate(choice.slots):
        before, after = choice.base.pictures[slot], choice.best.pictures[slot]
        prompt = choice.prompts[number]
        if before and after and prompt.section in SUBJECT:
            row = choice.best.rows[slot]
            near = row.get("likeness") or row.get("identity") or 0
            found.append((near, -slot, before, after, prompt.text))
    pairs = ((before, after, text) for _, _, before, after, text in sorted(found, reverse=True))
    return next((one for one in pairs if _opens(one[0]) and _opens(one[1])), None)


def _opens(path: Path) -> bool:
    try:
        _square(path)
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def draw(found: Evidence) -> Image.Image | None:
    """1200 x 630 pixels; None for a run whose pictures were never judged, or are gone."""
    shown = pair(found.choice) if found.choice else None
    if found.choice is None or shown is None:
        return None
    before, after, prompt = shown
    page = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(page)
    for place, (path, title) in enumerate(((before, "before"), (after, "after"))):
        left = EDGE + place * (SIDE + 24)
        page.paste(_square(path), (left, EDGE))
        pen.text((left, EDGE + SIDE + 8), title, INK, _font(30))
    _line(pen, (EDGE, HEIGHT - 72), prompt, LEAST, 2 * SIDE + 24)
    left = EDGE + 2 * (SIDE + 24) + 8
    room = WIDTH - left - 16
    pen.text((left, EDGE), "Kaiffin", INK, _font(38))
    subject = found.run.config.subject.phrase
    _line(pen, (left, EDGE + 56), subject, LEAST, room)
    top = EDGE + 130
    for name in leading(found.choice.best.means):
        value = found.choice.best.means[name]
        pen.text((left, top), MEASURES[name].short, SOFT, _font(LEAST))
        mean, _, interval = reading(value).partition(" ")
        pen.text((left, top + 30), mean, INK, _font(44))
        _line(pen, (left, top + 82), interval, LEAST, room)
        top += 136
    return page


def _font(points: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(points)


def _line(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, points: int,
          room: int) -> None:  # fmt: skip
    """One line, cut where it would not fit."""
    font = _font(points)
    while len(text) > 1 and font.getlength(text) > room:
        text = text[:-2].rstrip() + "…"
    pen.text(place, text, SOFT, font)


def _square(path: Path) -> Image.Image:
    """The middle square, large pixels kept sharp where the picture is a small one."""
    with Image.open(path) as image:
        whole = image.convert("RGB")
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    cut = whole.crop((left, top, left + side, top + side))
    return cut.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
