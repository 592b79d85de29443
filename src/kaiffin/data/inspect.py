"""The preflight: what each photo is, what is wrong or weak in the set, and the contact sheet.

Torch-free, so that examining tens of thousands of photos in worker processes starts at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import imagehash
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageStat

from kaiffin.data import images
from kaiffin.data.files import LeftOut
from kaiffin.data.images import Crop
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.sheets import INK, PAPER, SOFT
from kaiffin.foundation.text import counted, oddities, word_pattern

KEPT = "|||"  # of a caption: the tags before it stay, and those behind a second one
NEAR = 6  # bits of 64 in which two perceptual hashes of near duplicates may differ
BLURRED = 12.0  # variance of the Laplacian at 512 px; sharp photos are above 50
STRONG_CROP = 0.4  # share of the area lost
NOTHING, EVERYTHING = 0.002, 0.98  # shares of the area that are no mask
SHEET_PHOTOS = 48
TILE = 240  # pixels of a photo there
Level = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """Something the user should know. photo: name, or None for the set; fix: what to do, for who
    sits at a terminal; press: the same for who looks at the service's page, where it is another."""

    level: Level
    photo: str | None
    what: str
    fix: str
    press: str = ""

    def __str__(self) -> str:
        where = f"{self.photo}: " if self.photo else ""
        return f"{where}{self.what}. {self.fix}"


@dataclass(frozen=True)
class Examined:
    """Facts of one readable photo, small enough to keep for all."""

    sha256: str
    width: int
    height: int
    sharpness: float
    phash: str  # 16 hex digits
    has_alpha: bool
    notes: tuple[str, ...]
    covered: float | None = None  # share of the photo that its mask, or else its alpha, covers

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Examined:
        facts: dict[str, Any] = {**data, "notes": tuple(data["notes"])}
        return Examined(**facts)


def examine(path: Path, background: str, mask: Path | None = None) -> Examined | str:
    """Opens a photo whole, and its mask, and measures it; the reason as text when it is refused."""
    try:
        photo = images.open_photo(path, background)
    except PhotoError as error:
        return str(error).removeprefix(f"{path.name}: ")
    cover = photo.alpha
    try:
        if mask is not None:
            cover = images.open_mask(mask, photo.size)
    except PhotoError as error:
        return f"its mask {error}"
    return Examined(
        photo.sha256,
        photo.size[0],
        photo.size[1],
        round(sharpness(photo.image), 2),
        str(imagehash.phash(photo.image)),
        photo.alpha is not None,
        photo.notes,
        None if cover is None else round(ImageStat.Stat(cover).mean[0] / 255, 4),
    )


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the grey picture, its longer side at most 512 px."""
    grey = image.convert("L")
    grey.thumbnail((512, 512), Image.Resampling.LANCZOS)
    x = np.asarray(grey, dtype=np.float32)
    if min(x.shape) < 3:
        return 0.0
    middle = x[1:-1, 1:-1]
    laplacian = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * middle
    return float(laplacian.var())


@dataclass(frozen=True)
class Item:
    """One photo of the set with all that findings are made from."""

    name: str
    facts: Examined
    crop: Crop
    captions: tuple[str, ...]
    mask: Path | None = None


class Words(Protocol):
    """How a base reads: its tokenizer's pieces of a text, and how many tokens of it at most."""

    @property
    def max_tokens(self) -> int: ...

    def token_pieces(self, text: str, /) -> list[str]: ...


def findings(
    items: Sequence[Item],
    data: DataConfig,
    subject: SubjectConfig,
    resolution: int,
    words: Words | None,
) -> list[Finding]:
    """All findings of a set, errors first. words: how the base reads, None if unknown."""
    found = [f for item in items for f in _of_photo(item, data, resolution)]
    found += _of_tags(items, data) + _of_crops(items, data)
    found += _duplicates(items)
    found += _of_set(items, subject)
    found += _odd_captions(items)
    if words is not None:
        found += _of_captions(items, words)
        found += _of_trigger(subject, words.token_pieces(subject.token))
    order = {"error": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def _of_photo(item: Item, data: DataConfig, resolution: int) -> list[Finding]:
    found = [
        Finding("warning", item.name, note, "Look at it on the contact sheet.", "Look at it.")
        if note.endswith("ignored")
        else Finding("info", item.name, note, "Nothing to do.")
        for note in item.facts.notes
    ]
    size = (item.facts.width, item.facts.height)
    shown = f"{size[0]}x{size[1]}"
    if images.is_upscaled(size, item.crop):
        smallest = min(size) // 8 * 8
        if data.upscale:
            what = f"{shown} is enlarged to {item.crop.resized[0]}x{item.crop.resized[1]}"
            found.append(Finding("warning", item.name, what, "Use a larger photo if you have one."))
        else:
            fix = f"Use a larger photo, --resolution {max(smallest, 16)}, or --data.upscale true."
            press = "Use a larger photo, or switch upscale on below Fine-tune, All settings."
            what = f"{shown} is too small for {resolution} px"
            found.append(Finding("error", item.name, what, fix, press))
    if item.facts.sharpness < BLURRED:
        what = f"looks blurred (sharpness {item.facts.sharpness:.0f}, below {BLURRED:.0f})"
        found.append(Finding("warning", item.name, what, "Prefer a sharper photo: blur is learnt."))
    covered = item.facts.covered if data.masks != "none" else None
    if covered is not None and covered < NOTHING:
        fix = "Paint white what is to be learnt, or leave the photo out."
        found.append(Finding("error", item.name, "its mask covers nothing of it", fix))
    elif covered is not None and covered > EVERYTHING:
        what = f"its mask covers {covered:.0%} of it: that says nothing of where the subject is"
        fix = "Paint black what is not to be learnt, or do without: --data.masks none."
        found.append(Finding("warning", item.name, what, fix))
    if item.crop.share_lost > STRONG_CROP:
        what = f"the crop cuts off {item.crop.share_lost:.0%} of the photo"
        fix = "Check the contact sheet; crop it yourself or use --data.crop bucket."
        press = "Press Crop, and move the frame to what matters."
        found.append(Finding("warning", item.name, what, fix, press))
    return found


def _duplicates(items: Sequence[Item]) -> list[Finding]:
    """Exact by content, near by perceptual hash; each photo is named once, as the twin of one that
    is no twin itself."""
    found = []
    seen: dict[str, str] = {}
    distinct: list[Item] = []
    for item in items:
        first = seen.setdefault(item.facts.sha256, item.name)
        if first != item.name:
            what = f"is the same file as {first}"
            fix = "Keep one of them: every copy counts again."
            found.append(Finding("warning", item.name, what, fix))
        else:
            distinct.append(item)
    hashes = np.array([int(item.facts.phash, 16) for item in distinct], dtype=np.uint64)
    firsts = np.ones(len(distinct), dtype=bool)
    for i, item in enumerate(distinct):
        near = firsts[:i] & (np.bitwise_count(hashes[:i] ^ hashes[i]) <= NEAR)
        if near.any():
            firsts[i] = False
            what = f"is nearly the same picture as {distinct[int(near.argmax())].name}"
            fix = "Keep the better one: variety teaches more than repeats."
            found.append(Finding("warning", item.name, what, fix))
    return found


def _of_set(items: Sequence[Item], subject: SubjectConfig) -> list[Finding]:
    found = []
    if len(items) == 1:
        what = "there is one photo: pose and background will be learnt with the subject"
        found.append(Finding("warning", None, what, "Add photos from other sides and places."))
    elif len(items) == 2:
        found.append(Finding("warning", None, "there are only two photos", "3 to 20 work best."))
    if not subject.noun:
        what = "it is not said what the subject is"
        fix = 'Say it, such as --class puffin: "a photo of kaiffin puffin" learns faster.'
        press = "Say it above, below What it is: it learns faster."
        found.append(Finding("warning", None, what, fix, press))
    trigger = word_pattern(subject.token)
    all_captions = [(item.name, caption) for item in items for caption in item.captions]
    without = [name for name, caption in all_captions if not trigger.search(caption)]
    if without:
        lines = counted(len(all_captions), "caption")
        what = f"{len(without)} of {lines} without the word {subject.token!r}"
        if len(without) == len(all_captions):
            what = f"no caption has the word {subject.token!r}, which so learns nothing"
        fix = (
            f"Put it into every one ({without[0]} has the first); each line of a .txt is a caption"
            " of its own: join lines that belong together."
        )
        press = f"Write it into every caption; {without[0]} has the first without."
        found.append(Finding("warning", None, what, fix, press))
    return found


def _odd_captions(items: Sequence[Item]) -> list[Finding]:
    fix = "Look whether it reads as it was written; if not, save it as UTF-8 where it was written."
    press = "Look whether it reads as you wrote it."
    odd = [(item.name, oddities(caption)) for item in items for caption in item.captions]
    return [Finding("warning", name, f"a caption {what}", fix, press) for name, what in odd if what]


def _of_tags(items: Sequence[Item], data: DataConfig) -> list[Finding]:
    """Captions in which nothing can be shuffled or left out, where that is asked for."""
    many = data.keep_tags + (1 if data.tag_dropout else 2)
    captions = [caption for item in items for caption in item.captions]
    short = [c for c in captions if KEPT not in c and c.count(",") + 1 < many]
    if not (data.shuffle_tags or data.tag_dropout) or len(short) < len(captions):
        return []
    what = f"no caption has {many} tags, parted by commas: nothing is shuffled or left out"
    fix = (
        "Write tags, as in `kaiffin puffin, on a beach, at night`, or leave data.shuffle_tags out."
    )
    return [Finding("warning", None, what, fix)]


def _of_crops(items: Sequence[Item], data: DataConfig) -> list[Finding]:
    """Photos that leave a random crop no choice, all of them."""
    room = [one for one in items if one.crop.share_lost or one.crop.resized[0] < one.facts.width]
    if data.crops == "fixed" or data.upscale or room:
        return []
    what = "no photo is larger than its crop, so random crops are all the same"
    return [Finding("warning", None, what, "Use larger photos, or --data.upscale true.")]


def unused(left_out: Sequence[LeftOut]) -> list[Finding]:
    """Files of the folder that were meant for the training, as it seems, and are not used."""
    return [Finding("warning", None, one.what, one.kind.way) for one in left_out if one.kind.lost]


def _of_captions(items: Sequence[Item], words: Words) -> list[Finding]:
    room = words.max_tokens - 2  # begin and end take one each
    found = []
    lengths: dict[str, int] = {}
    for item in items:
        for caption in item.captions:
            if caption not in lengths:
                # A token is at least one byte: short captions need no tokenizer.
                short = len(caption.encode()) <= room
                lengths[caption] = 0 if short else len(words.token_pieces(caption))
            if lengths[caption] > room:
                what = f"a caption has {lengths[caption]} tokens, {room} fit: its end is not seen"
                found.append(Finding("warning", item.name, what, "Shorten it."))
    return found


def _of_trigger(subject: SubjectConfig, parts: Sequence[str]) -> list[Finding]:
    shown = " + ".join(part.replace("</w>", "") for part in parts)
    if len(parts) == 1:
        what = f"the word {subject.token!r} is one that the base knows already"
        fix = "Choose a rarer word, or the old meaning will shine through."
        return [Finding("warning", None, what, fix)]
    what = f"the word {subject.token!r} is read in {len(parts)} pieces: {shown}"
    return [Finding("info", None, what, "Fine: the base does not know it yet.")]


def contact_sheet(
    items: Sequence[Item],
    paths: Sequence[Path],
    found: Sequence[Finding],
    refused: Sequence[tuple[str, str]],
    background: str,
    beside: Sequence[tuple[Image.Image, str]] = (),
) -> Image.Image:
    """Every photo (the first SHEET_PHOTOS of a large set, said so) with crop, caption, findings.

    beside: a picture to the right of each, and what it is; of the first photos, if not of all.
    """
    by_photo: dict[str, list[str]] = defaultdict(list)
    for finding in found:
        if finding.photo and finding.level != "info":
            by_photo[finding.photo].append(finding.what)
    shown = list(zip(items, paths, strict=True))[:SHEET_PHOTOS]
    text, gap = 96, 14
    tile = TILE + gap if not beside else 2 * (TILE + gap)
    columns = min(2 if beside else 4, max(len(shown), 1))
    rows = -(-len(shown) // columns)
    more = f", the first {len(shown)} shown" if len(items) > len(shown) else ""
    lines = [f"{name}: {reason}" for name, reason in refused[:12]]
    head = 44 + 18 * (len(lines) + bool(lines))
    width = max(columns * tile + gap, 520)
    page = Image.new("RGB", (width, head + rows * (TILE + text + gap) + gap), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((gap, gap), f"{counted(len(items), 'photo')}{more}", INK, ImageFont.load_default(18))
    if lines:
        text_block = "\n".join([f"Refused: {len(refused)}", *(line[:90] for line in lines)])
        draw.multiline_text((gap, 42), text_block, "#a33022", ImageFont.load_default(12), spacing=5)
    for i, (item, path) in enumerate(shown):
        corner = (gap + i % columns * tile, head + i // columns * (TILE + text + gap))
        _draw_photo(page, corner, item, path, by_photo[item.name], background)
        if i < len(beside):
            _draw_beside(page, (corner[0] + TILE + gap // 2, corner[1]), *beside[i])
    return page


def _draw_beside(
    page: Image.Image, corner: tuple[int, int], picture: Image.Image, text: str
) -> None:
    factor = TILE / max(picture.size)
    size = [max(1, round(side * factor)) for side in picture.size]
    left, top = corner
    at = (left + (TILE - size[0]) // 2, top + (TILE - size[1]) // 2)
    page.paste(picture.resize(size, Image.Resampling.LANCZOS), at)
    font = ImageFont.load_default(12)
    ImageDraw.Draw(page).multiline_text((left, top + TILE + 4), text, SOFT, font)


def _draw_photo(
    page: Image.Image, corner: tuple[int, int], item: Item, path: Path,
    problems: Sequence[str], background: str,
) -> None:  # fmt: skip
    """One photo, what its crop loses dimmed, a frame round the crop, and text below."""
    factor = TILE / max(item.crop.resized)
    size = [max(1, round(side * factor)) for side in item.crop.resized]
    small = images.open_photo(path, background).image.resize(size, Image.Resampling.LANCZOS)
    if item.mask:  # what it leaves out is reddened
        red = Image.blend(small, Image.new("RGB", small.size, "#a33022"), 0.6)
        mask = images.open_mask(item.mask, (item.facts.width, item.facts.height))
        small = Image.composite(small, red, mask.resize(small.size))
    x1, y1, x2, y2 = (round(value * factor) for value in item.crop.box)
    dim = Image.blend(small, Image.new("RGB", small.size, PAPER), 0.6)
    dim.paste(small.crop((x1, y1, x2, y2)), (x1, y1))
    left, top = corner
    at = (left + (TILE - small.width) // 2, top + (TILE - small.height) // 2)
    page.paste(dim, at)
    draw = ImageDraw.Draw(page)
    # Of a strip the crop may be less than a pixel here.
    frame = [at[0] + x1, at[1] + y1, at[0] + max(x1, x2 - 1), at[1] + max(y1, y2 - 1)]
    draw.rectangle(frame, outline="#1f7a5c", width=2)
    font = ImageFont.load_default(12)
    name = f"{item.name}  {item.facts.width}x{item.facts.height}"
    draw.text((left, top + TILE + 4), name[:38], INK, font)
    draw.multiline_text((left, top + TILE + 20), _short(item.captions[0], 38, 2), SOFT, font)
    if problems:
        text = _short("; ".join(problems), 38, 2)
        draw.multiline_text((left, top + TILE + 54), text, "#a33022", font)


def _short(text: str, width: int, lines: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))
