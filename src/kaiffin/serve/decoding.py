"""Strangers' photos opened in a child process with limits of memory and time. Torch-free.

The child (`python -m kaiffin.serve.decoding`) reads one order a line and answers with one: what the
photo is, or why it is none. It writes pictures that are safe to show, which carry nothing of the
file but its pixels. Where it dies or takes too long, the photo is refused and the next one gets
another child.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kaiffin.foundation.errors import PhotoError, UserError

# What a picture is: a photo, or a mask, whose white (or, where it has one, opaque) part is meant;
# inverted: the other part; clear: the part that is transparent.
Kind = Literal["photo", "mask", "inverted", "clear"]

if TYPE_CHECKING:
    from kaiffin.data.images import Photo

MEMORY = 3 * 2**30  # bytes of address space: a photo of the most pixels, its copies, the libraries
SECONDS = 60.0  # for one photo
IDLE_S = 60  # then the child ends
SHOWN, THUMB = 1280, 256  # pixels of the longer side
LARGEST = 4096  # of one that is painted over
AGAIN = "Export it anew, as JPEG or PNG."


@dataclass(frozen=True)
class Looked:
    """A photo: its upright size in pixels, the hash of its bytes, its format, what was done."""

    width: int
    height: int
    sha256: str
    format: str
    notes: tuple[str, ...]


class Decoder:
    """One child at a time, begun when there is something to do."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._turn = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None

    async def look(
        self, path: Path, *, shown: Path, thumb: Path, crop: tuple[Path, Mapping[str, int]] | None
        = None,
    ) -> Looked:  # fmt: skip
        """What is in the file at `path`; PhotoError where it is no photo that Kaiffin reads,
        OSError where nothing can be written.

        shown, thumb: where JPEGs of it are written; crop: where a PNG of a part of it goes, and
        which part: left, top, width, height.
        """
        order: dict[str, Any] = {"path": str(path), "shown": str(shown), "thumb": str(thumb)}
        if crop:
            order |= {"cut": str(crop[0]), "box": dict(crop[1])}
        return await self._looked(order)

    async def plain(self, path: Path, to: Path, kind: Kind) -> Looked:
        """The photo as a PNG of `LARGEST` pixels a side at most, or what it means as a mask.
        PhotoError as `look`, and for a mask that is to be clear somewhere and is not."""
        return await self._looked({"path": str(path), "plain": str(to), "kind": kind})

    async def _looked(self, order: Mapping[str, Any]) -> Looked:
        async with self._turn:
            answer = await self._ask(order)
        if number := answer.get("errno"):
            raise OSError(number, os.strerror(number))
        if "problem" in answer:
            raise PhotoError(answer["problem"], answer["fix"])
        notes = tuple(answer.pop("notes"))
        return Looked(**answer, notes=notes)

    async def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        child = await self._ready()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(order).encode() + b"\n")
            line = await asyncio.wait_for(child.stdout.readline(), self.seconds)
            return json.loads(line)
        except TimeoutError:
            why = f"takes more than {self.seconds:g} s to open"
        except (ValueError, OSError):
            why = "cannot be opened within the limits of memory"
        await self._end(child)
        raise PhotoError(f"the photo {why}.", AGAIN)

    async def _ready(self) -> asyncio.subprocess.Process:
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", __name__ if __name__ != "__main__" else __spec__.name,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return self._child

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        self._child = None
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()

    async def close(self) -> None:
        if self._child is not None:
            await self._end(self._child)


# --- the child ----------------------------------------------------------------------------------


def main() -> None:
    limit_memory()
    while True:
        signal.alarm(IDLE_S)  # nobody asks any more: the end
        line = sys.stdin.readline()
        signal.alarm(0)
        if not line:
            return
        print(json.dumps(_answered(json.loads(line))), flush=True)


def limit_memory() -> None:
    """Where the system can (not on Windows, and macOS ignores it)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answered(order: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return look(order)
    except UserError as error:
        named = f"{Path(order['path']).name}: "
        return {"problem": f"the photo {error.message.removeprefix(named)}", "fix": error.fix}
    except MemoryError:
        return {"problem": "the photo is too large to be opened here.", "fix": AGAIN}
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # nothing wrong with it: the disk is full
            return {"errno": error.errno}
        return {"problem": f"the photo cannot be opened ({type(error).__name__}).", "fix": AGAIN}


def look(order: Mapping[str, Any]) -> dict[str, Any]:
    """Does one order, in this process."""
    from PIL import Image

    from kaiffin.data.images import open_photo

    path = Path(order["path"])
    photo = open_photo(path)
    image, (width, height) = photo.image, photo.size
    if box := order.get("box"):
        corners = (box["left"], box["top"], box["left"] + box["width"], box["top"] + box["height"])
        if corners[2] > width or corners[3] > height:
            raise PhotoError(f"is {width}x{height}, and the crop leaves it.")
        cut = image.crop(corners)
        if photo.alpha:
            cut.putalpha(photo.alpha.crop(corners))
        cut.save(order["cut"], format="PNG")
    if "plain" in order:
        _save_plain(photo, order)
    for name, side in (("shown", SHOWN), ("thumb", THUMB)):
        if name in order:
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            image.save(order[name], format="JPEG", quality=90)
    with Image.open(path) as again:
        kind = again.format or ""
    return {
        "width": width, "height": height, "sha256": photo.sha256, "format": kind,
        "notes": list(photo.notes),
    }  # fmt: skip


def _save_plain(photo: Photo, order: Mapping[str, Any]) -> None:
    from PIL import Image, ImageChops

    kind: Kind = order["kind"]
    if kind == "clear" and photo.alpha is None:
        raise PhotoError("has no transparent part, which is what a mask has here.")
    image = photo.image if kind == "photo" else photo.alpha or photo.image.convert("L")
    if kind in ("clear", "inverted"):
        image = ImageChops.invert(image)
    image = image.copy()
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    image.save(order["plain"], format="PNG")


if __name__ == "__main__":
    main()
