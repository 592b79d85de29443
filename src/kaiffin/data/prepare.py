"""`prepare`: a whole set of photos examined, with a manifest and a contact sheet. Torch-free.

Large sets are examined by all cores; each result is appended to a journal, so that an interrupted
`prepare` continues where it was. Only the facts of a photo are kept in memory, never its pixels.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kaiffin import __version__
from kaiffin.data import images, inspect, sources
from kaiffin.data.files import shown
from kaiffin.data.images import Crop
from kaiffin.data.inspect import Examined, Finding, Item, Words
from kaiffin.data.sources import Listing, Source
from kaiffin.data.through import Autoencoder, Seen, cannot_show, look
from kaiffin.foundation.config import DataConfig, SubjectConfig
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.folder import expanded, explained, write_bytes
from kaiffin.foundation.run import CONTACT_SHEET, PHOTOS_MANIFEST
from kaiffin.foundation.sheets import png_bytes
from kaiffin.foundation.text import counted

PARALLEL_FROM = 64  # photos; below, starting processes costs more than it saves
CHUNK = 16
SAID = 20  # of the photos that cannot be used, where none can
Progress = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class Example:
    """One photo to train on. original_size: (width, height); role: instance or prior; subject: whom
    it shows, or whose class."""

    path: Path
    sha256: str
    captions: tuple[str, ...]
    crop: Crop
    original_size: tuple[int, int]
    role: Literal["instance", "prior"] = "instance"
    repeats: int = 1
    mask_path: Path | None = None
    subject: SubjectConfig = field(default_factory=SubjectConfig)

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Prepared:
    """The examples of a set and everything that was found about it.

    held_out: those that are not trained on; listed: every photo there is, used or not.
    """

    examples: tuple[Example, ...]
    findings: tuple[Finding, ...]
    refused: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    manifest: dict[str, Any]
    held_out: tuple[Example, ...] = ()
    skipping: bool = False  # --skip-bad: what cannot be used is left out and recorded
    listed: tuple[Source, ...] = ()

    @property
    def problems(self) -> list[str]:
        """What must be mended (or left out by --skip-bad) before training, one line each."""
        if self.skipping:
            return []
        bad = [f"{name}: {reason}" for name, reason in self.refused]
        return bad + [str(f) for f in self.findings if f.level == "error"]


def prepare(
    data: DataConfig,
    subject: SubjectConfig,
    resolution: int,
    *,
    words: Words | None = None,
    through: Autoencoder | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
    listing: Listing | None = None,
) -> Prepared:
    """Looks at every photo of `data.photos`; writes manifest and contact sheet below `out`.

    words: how the base reads captions; through: its autoencoder; listing: what the folder holds,
    where that has been read already.

    With `data.skip_bad`, photos that cannot be used are left out and recorded. Otherwise the
    result's `problems` say what is wrong and the caller must not train.
    Raises PhotoError when nothing usable is left.
    """
    listing = listing or sources.read(data, subject)
    top = expanded(data.photos or Path())
    images.parse_colour(data.background)
    facts = zip(
        listing.sources, _examine_all(listing.sources, data.background, out, progress), strict=True
    )
    kept, refused = _parted(facts, listing.refused, top)
    items = [_item(top, s, e, data, resolution) for s, e in kept]
    found = inspect.findings(items, data, subject, resolution, words)
    found += inspect.unused(listing.left_out)
    if data.skip_bad:
        bad = {finding.photo: finding.what for finding in found if finding.level == "error"}
        refused += [(item.name, bad[item.name]) for item in items if item.name in bad]
        good = [i for i, item in enumerate(items) if item.name not in bad]
        kept, items = [kept[i] for i in good], [items[i] for i in good]
        found = [finding for finding in found if finding.photo not in bad]
    _refuse_empty(items, refused, top)
    seen: list[Seen] = []
    if through:
        seen = look([(s, item) for (s, _), item in zip(kept, items, strict=True)], data, through)
        found += cannot_show(seen, through)
    examples = tuple(
        Example(s.path, e.sha256, s.captions, item.crop, (e.width, e.height), "instance",
                s.repeats, s.mask_path, subject)
        for (s, e), item in zip(kept, items, strict=True)
    )  # fmt: skip
    held_out = _held_out(examples, data.hold_out, top)
    manifest = _manifest(examples, held_out, items, found, refused, listing, data, resolution)
    for photo, one in zip(manifest["photos"], seen, strict=False):
        photo["autoencoder"] = one.as_json()
    if out is not None:
        write_bytes(out / PHOTOS_MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        paths, beside = [e.path for e in examples], [(one.picture, str(one)) for one in seen]
        sheet = inspect.contact_sheet(items, paths, found, refused, data.background, beside)
        write_bytes(out / CONTACT_SHEET, png_bytes(sheet))
    trained = tuple(example for example in examples if example not in held_out)
    return Prepared(
        trained, tuple(found), tuple(refused), tuple(manifest["notes"]), manifest, held_out,
        data.skip_bad, tuple(listing.sources),
    )  # fmt: skip


def _parted(
    examined: Iterable[tuple[Source, Examined | str]], before: Iterable[tuple[str, str]], top: Path
) -> tuple[list[tuple[Source, Examined]], list[tuple[str, str]]]:
    """What can be used, and what is refused, by name with the reason."""
    kept, refused = [], list(before)
    for source, result in examined:
        if isinstance(result, str):
            refused.append((shown(source.path, top), result))
        else:
            kept.append((source, result))
    return kept, refused


def _held_out(examples: Sequence[Example], count: int, top: Path) -> tuple[Example, ...]:
    """`count` of the photos, evenly spread over their order; PhotoError where none would stay."""
    if count >= len(examples):
        raise PhotoError(
            f"{top}: data.hold_out {count} of {counted(len(examples), 'photo')}: none is left to"
            " learn from.",
            "Hold fewer out, or give more photos.",
        )
    places = {(2 * i + 1) * len(examples) // (2 * count) for i in range(count)}
    return tuple(example for i, example in enumerate(examples) if i in places)


def crop_of(size: tuple[int, int], data: DataConfig, resolution: int) -> Crop:
    """The crop that `data.crop` means for a photo of `size` (width, height)."""
    cut = images.square_crop if data.crop == "square" else images.bucket_crop
    return cut(size, resolution)


def _item(top: Path, source: Source, facts: Examined, data: DataConfig, resolution: int) -> Item:
    crop = crop_of((facts.width, facts.height), data, resolution)
    return Item(shown(source.path, top), facts, crop, source.captions, source.mask_path)


def _refuse_empty(items: Sequence[Item], refused: Sequence[tuple[str, str]], top: Path) -> None:
    if not items:
        said = "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in refused[:SAID])
        more = f"; and {len(refused) - SAID:,} more" if len(refused) > SAID else ""
        raise PhotoError(
            f"{top}: of {counted(len(refused), 'photo')} none can be used; {said}{more}."
        )


# --- examining --------------------------------------------------------------------------------


def _examine_all(
    listed: Sequence[Source], background: str, out: Path | None, progress: Progress | None
) -> list[Examined | str]:
    """Facts or refusals in order of `listed`; what the journal knows is not opened again."""
    journal = _Journal(out / "journal.jsonl" if out else None, background)
    keys = [_key(source) for source in listed]
    todo = [i for i, key in enumerate(keys) if key not in journal.known]
    done = len(listed) - len(todo)
    if progress:
        progress(done, len(listed))
    with journal:
        for i, result in _examined([(i, listed[i]) for i in todo], background):
            journal.add(keys[i], result)
            done += 1
            if progress:
                progress(done, len(listed))
    return [journal.known[key] for key in keys]


def _examined(
    todo: Sequence[tuple[int, Source]], background: str
) -> Iterator[tuple[int, Examined | str]]:
    if len(todo) < PARALLEL_FROM:
        for one in todo:
            yield from _examine_chunk([one], background)
        return
    # Spawned, not forked: the parent may hold threads and a GPU.
    context = multiprocessing.get_context("spawn")
    chunks = [todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        for results in _bounded_map(pool, chunks, background):
            yield from results


def _bounded_map(
    pool: ProcessPoolExecutor, chunks: Iterable[Sequence[tuple[int, Source]]], background: str
) -> Iterator[list[tuple[int, Examined | str]]]:
    """Results in order, never more than a few dozen chunks waiting: bounded memory."""
    waiting = []
    for chunk in chunks:
        waiting.append(pool.submit(_examine_chunk, chunk, background))
        if len(waiting) >= 32:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def _examine_chunk(
    chunk: Sequence[tuple[int, Source]], background: str
) -> list[tuple[int, Examined | str]]:
    return [(i, inspect.examine(one.path, background, one.mask_path)) for i, one in chunk]


def _key(source: Source) -> str:
    """Changes when the file or its mask does: absolute path, size and modification time."""
    return "|".join(map(_state, filter(None, (source.path, source.mask_path))))


def _state(path: Path) -> str:
    try:
        stat = path.stat()
        return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    except OSError:
        return f"{path.resolve()}|unreadable"


class _Journal:
    """One JSON line per examined photo; a torn last line is ignored."""

    def __init__(self, path: Path | None, background: str) -> None:
        self.path, self.background = path, background
        self.known: dict[str, Examined | str] = {}
        self._file = None
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            # Refusals are not remembered: the user may have mended permissions or an install.
            if entry["background"] == self.background and "facts" in entry:
                self.known[entry["key"]] = Examined.from_json(entry["facts"])
        except (ValueError, KeyError, TypeError):
            return

    def __enter__(self) -> _Journal:
        if self.path is not None:
            with explained(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def add(self, key: str, result: Examined | str) -> None:
        self.known[key] = result
        if self._file and isinstance(result, Examined):
            entry = {"key": key, "background": self.background, "facts": result.as_json()}
            with explained(Path(self._file.name)):
                self._file.write("\n" + json.dumps(entry))
                self._file.flush()


# --- writing ----------------------------------------------------------------------------------


def _manifest(
    examples: Sequence[Example], held_out: Sequence[Example], items: Sequence[Item],
    found: Sequence[Finding], refused: Sequence[tuple[str, str]], listing: sources.Listing,
    data: DataConfig, resolution: int,
) -> dict[str, Any]:  # fmt: skip
    photos = [
        {
            "file": item.name,
            "sha256": example.sha256,
            "size": list(example.original_size),
            "crop": asdict(example.crop),
            "captions": list(example.captions),
            "repeats": example.repeats,
            "mask": example.mask_path.name if example.mask_path else None,
            "held_out": example in held_out,
        }
        for item, example in zip(items, examples, strict=True)
    ]
    trained = [e.sha256 for e in examples if e not in held_out]
    content = hashlib.sha256("".join(trained).encode()).hexdigest()
    return {
        "kaiffin": __version__,
        "format": listing.format,
        "resolution": resolution,
        "crop": data.crop,
        "content": content,
        "num_photos": len(photos),
        "photos": photos,
        "refused": [{"what": name, "reason": reason} for name, reason in refused],
        "left_out": [
            {"what": one.kind.name, "becomes": one.kind.becomes, "files": list(one.names)}
            for one in listing.left_out
        ],
        "notes": listing.notes + [one.what for one in listing.left_out if not one.kind.lost],
        "findings": [asdict(finding) for finding in found],
    }
