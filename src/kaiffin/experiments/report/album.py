"""The pictures of a page, each embedded once, as large as the page's size allows. Torch-free.

All pictures are shrunk alike, so that a checkpoint never looks better than another because its file
was shrunk less. What does not fit even when small is left out, and the page says so.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from kaiffin.data.images import open_photo
from kaiffin.foundation.errors import PhotoError, UserError
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.text import counted
from kaiffin.pictures import png

Fact = tuple[str, str]  # what, and its value
# Pixels of the longer side and WebP's quality, from the best down.
RUNGS = ((512, 90), (448, 86), (384, 84), (320, 82), (256, 80), (224, 78), (192, 76), (160, 72),
         (128, 68), (96, 60))  # fmt: skip
SMALL = 128  # pixels; smaller ones are shown as crisp squares, since browsers would blur them
LOSSLESS = 256  # pixels of the rung from which small pictures keep every bit
ID = 12  # characters of a hash that name an image on the page
SAMPLE = 12  # pictures by which the sum of all is estimated


@dataclass(frozen=True)
class Picture:
    """A picture at one place of the page. alt: what it shows; link: its file, seen from the page;
    own, shared: its recipe, of which `shared` is the same in many."""

    key: str
    title: str
    alt: str
    name: str
    link: str
    sha256: str
    own: tuple[Fact, ...]
    shared: tuple[Fact, ...]
    optional: bool


@dataclass(frozen=True)
class SourceImage:
    """A picture, at most as large as the first rung, and the size that it had."""

    image: Image.Image
    size: tuple[int, int]


@dataclass(frozen=True)
class InlineImage:
    """A picture as it is embedded, and the size it says to have."""

    url: str
    width: int
    height: int
    crisp: bool


@dataclass
class Album:
    """page: the folder that the page will lie in."""

    page: Path
    shown: list[Picture] = field(default_factory=list)
    whole: bool = True  # whether the optional pictures are in it
    _files: dict[str, Path] = field(default_factory=dict)  # by SHA-256
    _encoded: dict[str, InlineImage] = field(default_factory=dict)  # by SHA-256
    _placed: set[str] = field(default_factory=set)

    def add(
        self, path: Path | None, title: str, alt: str, facts: Iterable[Fact] = (), *,
        name: str = "", sha256: str = "", has_recipe: bool = True, optional: bool = False,
    ) -> Picture | None:  # fmt: skip
        """Takes a picture in; None where it is gone, cannot be read or is not what `sha256` says.

        facts: what is known beside its recipe; name: what the file is called; optional: whether it
        may be left out for want of room.
        """
        if path is None:
            return None
        try:
            found = file_sha256(path)
        except OSError:
            return None
        if found != (sha256 or found):
            return None
        sha256 = found
        self._files.setdefault(sha256, path)
        own, shared = recipe_facts(path) if has_recipe else ((), ())
        link = quote(Path(os.path.relpath(path.resolve(), self.page.resolve())).as_posix())
        one = Picture(f"p{len(self.shown)}", title, alt, name or path.name, link, sha256,
                    (*own, *facts), shared, optional)  # fmt: skip
        self.shown.append(one)
        return one

    def encode(self, room: int) -> None:
        """Shrinks the pictures until their data URLs take at most `room` bytes."""
        every = {one.sha256 for one in self.shown}
        needed = {one.sha256 for one in self.shown if not one.optional}
        found = self._fitted(every, room)
        self.whole = found is not None
        self._encoded = found or self._fitted(needed, room) or {}

    def _fitted(self, keys: set[str], room: int) -> dict[str, InlineImage] | None:
        """The pictures at the best rung on which they fit; None where they fit on none."""
        order = sorted(keys)  # hashes: any stretch of them is a random sample
        sample = [one for key in order[:SAMPLE] if (one := self._open(key))]
        for rung in RUNGS:
            if sum(len(encode(one, *rung).url) for one in sample) * len(order) > room * len(sample):
                continue
            found = {key: encode(one, *rung) for key in order if (one := self._open(key))}
            if sum(len(one.url) for one in found.values()) <= room:
                return found
        return None

    def _open(self, key: str) -> SourceImage | None:
        """None for what is no picture, or no longer."""
        try:
            return opened(self._files[key])
        except PhotoError:
            return None

    def image(self, one: Picture | None) -> InlineImage | None:
        """The picture as it is embedded; None where it could not be read or has no room."""
        return self._encoded.get(one.sha256) if one else None

    def place(self, one: Picture) -> str:
        """The data URL where the picture stands on the page for the first time, then "": the
        page's script fills the other places."""
        if one.sha256 in self._placed:
            return ""
        self._placed.add(one.sha256)
        return self._encoded[one.sha256].url

    def data(self) -> dict[str, Any]:
        """For the page's script: every picture's facts, and the images that stand nowhere yet."""
        known = [one for one in self.shown if one.sha256 in self._encoded]
        shared = {facts: number for number, facts in enumerate({one.shared: 0 for one in known})}
        left = {key: one for key, one in self._encoded.items() if key not in self._placed}
        return {
            "images": {key[:ID]: one.url for key, one in left.items()},
            "shared": list(shared),
            "pictures": {
                one.key: {
                    "image": one.sha256[:ID], "title": one.title, "alt": one.alt,
                    "name": one.name, "link": one.link, "own": one.own,
                    "shared": shared[one.shared],
                }
                for one in known
            },
        }  # fmt: skip


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of them, evenly, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def opened(path: Path) -> SourceImage:
    """The picture, upright. PhotoError for what is no picture."""
    image = open_photo(path).image
    size = image.size
    image.thumbnail((RUNGS[0][0], RUNGS[0][0]), Image.Resampling.LANCZOS)
    return SourceImage(image, size)


def encode(one: SourceImage, side: int, quality: int) -> InlineImage:
    """As WebP of at most `side` pixels."""
    shown = one.image.copy()
    shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    is_small = max(one.size) <= SMALL
    if is_small and side >= LOSSLESS:
        shown.save(buffer, "WEBP", lossless=True, quality=30, method=1)
    else:
        shown.save(buffer, "WEBP", quality=quality, method=4)
    url = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return InlineImage(url, *shown.size, is_small)


def recipe_facts(path: Path) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    """(prompt and seed, everything else) of the recipe inside a PNG, in words."""
    try:
        found = png.read(path)
        return _facts(found)
    except UserError:
        return (("recipe", "none inside this file"),), ()
    except (KeyError, TypeError, AttributeError, ValueError):
        return (("recipe", "damaged"),), ()


def _facts(found: Mapping[str, Any]) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    request, base = found["request"], found["base"]
    adapters = [
        ("adapter", f"{a['name']}, weight {a['weight']}, SHA-256 {a['sha256']}")
        for a in found["adapters"]
    ]
    sampler = (
        f"{request['sampler']}, {counted(request['steps'], 'step')}, guidance {request['guidance']}"
    )
    settings = [
        ("negative prompt", request.get("negative")),
        ("sampler", sampler + (f", eta {request['eta']}" if request.get("eta") else "")),
        ("size", f"{request['width']} × {request['height']} pixels"),
        ("clip skip", request.get("clip_skip")),
        *(adapters or [("adapter", "none: the base as it is")]),
        ("base", f"{base['name']}, revision {base['revision']}"),
        ("made with", f"Kaiffin {found['kaiffin']}, torch {found['torch']},"
                      f" {found['device']} {found['dtype']}"),
    ]  # fmt: skip
    own = (("prompt", str(request["prompt"])), ("seed", str(request["seed"])))
    return own, tuple((name, str(value)) for name, value in settings if value)
