"""`kaiffin publish`: a run as a folder for the hub and for galleries, and its upload if asked."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Literal

from PIL import Image, PngImagePlugin

from kaiffin.adapters.elsewhere import card
from kaiffin.adapters.files import safe, share
from kaiffin.experiments.report.evidence import Evidence, read
from kaiffin.experiments.report.scorecards import score_rows
from kaiffin.foundation.errors import RunError, UserError
from kaiffin.foundation.folder import expanded, explained, write_bytes
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.whereabouts import photo_folders
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.published import PUBLISHED, plain_name
from kaiffin.models.files.upload import push
from kaiffin.pictures import png

HUB = "hub:"
Person = Literal["unsaid", "none", "consented"]
PEOPLE = {
    "unsaid": "Nobody has said whether a real person is shown.",
    "none": "No real person is shown, says its maker.",
    "consented": "A real person is shown and has agreed to it, says its maker.",
}
# The hub's names of the licences that published bases have.
LICENCES = {"openrail-m": "creativeml-openrail-m", "faipl-1.0-sd": "other", "sdxl-license": "other"}
SUBJECT = ("scenes", "actions", "styles")  # sections of prompts that show the subject


@dataclass(frozen=True)
class Terms:
    """What is said to strangers. person: whether a real one is shown; licence: as the hub calls
    it, default: the base's; thumbnail: a small picture and the licence inside the adapter file;
    private: the repository is seen by its owner alone."""

    person: Person = "unsaid"
    licence: str = ""
    thumbnail: bool = False
    private: bool = False


@dataclass(frozen=True)
class Published:
    """What strangers get. files: by their place in it; url: of the page where it was uploaded;
    model_hash: by which galleries know the adapter; left_out: entries of its header that told of
    this machine; licence: "" where the base's is not known."""

    folder: Path | None
    files: tuple[str, ...]
    size: int
    model_hash: str
    url: str = ""
    left_out: tuple[str, ...] = ()
    licence: str = ""


def publish(
    folder: Path, to: str, terms: Terms | None = None, *, pictures: int = 4, best: bool = False,
    tell: Tell = SILENT,
) -> Published:  # fmt: skip
    """Makes a folder of a finished run as the hub, Civitai and managers of files want it.

    to: a folder that is not there yet, or hub:NAME, which uploads it; pictures: how many are shown;
    best: the checkpoint that `choose` recommends instead of the last.
    Raises RunError for a run that is not finished, UserError for what is there already and for an
    upload that the hub refuses or that nobody has said of whether it shows a real person.
    """
    run = Run.open(folder)
    source = _adapter(run, best)
    is_upload, terms = to.startswith(HUB), terms or Terms()
    if is_upload and terms.person == "unsaid":
        raise UserError(
            "--person is not said, and the hub is public.",
            "Write --person none, or --person consented where a real person is shown and agreed.",
        )
    if not is_upload and Path(to).exists():
        raise UserError(f"{to}: is there already.", "Remove it or choose another --to.")
    chosen = terms.licence or _licence(run.config.base.name)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made) / "share"
        found = [read(own) for own in run.by_subject()]
        shown = list(_pictures(found, place, pictures))
        left_out = _adapter_file(run, source, place, shown, chosen if terms.thumbnail else None)
        about = card.Shown(
            [(text, path.relative_to(place).as_posix()) for text, path in shown], _scores(run),
            chosen, PEOPLE[terms.person], _sample(run),
        )  # fmt: skip
        write_bytes(place / card.NAME, card.text(run, about).encode())
        _refuse_private(place, run)
        files = sorted(path for path in place.rglob("*") if path.is_file())
        names = tuple(path.relative_to(place).as_posix() for path in files)
        size = sum(path.stat().st_size for path in files)
        adapter = safe.model_hash(place / run.adapter_path.name)
        url = ""
        if is_upload:
            whom = " and ".join(one.phrase for one in run.config.everyone)
            said = f"{whom}, taught with Kaiffin"
            name = to.removeprefix(HUB)
            url = push(place, name, private=terms.private, message=said, tell=tell)
        else:
            with explained(Path(to)):
                shutil.copytree(place, to)
    target = None if is_upload else Path(to)
    return Published(target, names, size, adapter, url, tuple(left_out), chosen)


def _adapter(run: Run, best: bool) -> Path:
    """The file that is shared."""
    path = run.best_path if best else run.adapter_path
    if not path.is_file():
        way = f"Run `kaiffin choose {run.path}` first." if best else "Finish the training first."
        raise RunError(f"{run.path}: has no {path.name}.", way)
    return path


def _licence(base: str) -> str:
    """The base's, as the hub calls it; "" where it is not known."""
    if base in EMBEDDED:
        return "apache-2.0"
    known = {one.repo: one.licence for one in PUBLISHED.values()}
    found = known.get(plain_name(base), "")
    return LICENCES.get(found, found)


# --- what lies in the folder ------------------------------------------------------------------


def _pictures(found: Sequence[Evidence], place: Path, count: int) -> Iterator[tuple[str, Path]]:
    """Pictures of the subject with their prompts: those that were judged, of several subjects by
    turns, else those made with it.

    They keep A1111's line of settings, and nothing else that stood in them.
    """
    judged = chain.from_iterable(zip_longest(*map(_judged, found)))
    every = chain(filter(None, judged), _made(found[0]))
    for number, (prompt, path) in enumerate(islice(every, count), 1):
        yield prompt, _bare(path, place / "images" / f"{number}.png")


def _judged(found: Evidence) -> Iterator[tuple[str, Path]]:
    """A picture of each prompt that shows the subject, by the checkpoint that was chosen."""
    if found.choice is None:
        return
    seen = set()
    for (prompt, _), path in zip(found.choice.slots, found.choice.best.pictures, strict=False):
        asked = found.choice.prompts[prompt]
        if path is not None and prompt not in seen and asked.section in SUBJECT:
            seen.add(prompt)
            yield asked.text, path


def _made(found: Evidence) -> Iterator[tuple[str, Path]]:
    for path in found.images:
        yield str(png.read(path)["request"]["prompt"]), path


def _bare(path: Path, out: Path) -> Path:
    """A copy with the settings that galleries read, unless these tell of this machine."""
    info = PngImagePlugin.PngInfo()
    with Image.open(path) as image:
        image.load()
        text = image.info.get("parameters")
        if isinstance(text, str) and not share.is_private("parameters", text):
            info.add_itxt("parameters", text)
        plain = Image.frombytes(image.mode, image.size, image.tobytes())
    file = io.BytesIO()
    plain.save(file, "PNG", pnginfo=info)
    write_bytes(out, file.getvalue())
    return out


def _adapter_file(
    run: Run, source: Path, place: Path, shown: Sequence[tuple[str, Path]], licence: str | None
) -> list[str]:
    """The adapter with its preview beside it, and what else its card tells to load."""
    extra = {}
    if licence is not None:
        extra = {"modelspec.license": licence} if licence else {}
        extra |= {"modelspec.thumbnail": share.thumbnail(shown[0][1])} if shown else {}
    left_out = share.save(source, place / run.adapter_path.name, extra)
    if shown:
        preview = (place / run.adapter_path.name).with_suffix(".png")
        write_bytes(preview, shown[0][1].read_bytes())
    embedding = run.part_path("embedding")
    if embedding.is_file():
        left_out += share.save(embedding, place / embedding.name, {})
    other = run.layout_path("diffusers") / "pytorch_lora_weights.safetensors"
    if other.is_file():
        left_out += share.save(other, place / "diffusers" / other.name, {})
    return left_out


def _scores(run: Run) -> list[tuple[str, str, str]]:
    """Of several subjects each has its own, under its words."""
    rows: list[tuple[str, str, str]] = []
    for own in run.by_subject():
        of = f" of {own.config.subject.phrase}" if run.config.subjects else ""
        found = read(own).choice
        rows += [
            (f"{row.measure.title}{of}", row.chosen, row.measure.direction)
            for row in (score_rows(found) if found else ())
        ]
    return rows


def _sample(run: Run) -> dict[str, object]:
    sample = run.config.sample
    return {"guidance": sample.guidance, "steps": sample.steps, "negative": sample.negative}


def _refuse_private(place: Path, run: Run) -> None:
    """No file may name a folder of this machine: what is written here is checked once more."""
    config = run.config
    told = [run.path.resolve(), Path.home(), *photo_folders(config), config.score.like]
    told += [Path(config.base.name)] if Path(config.base.name).is_absolute() else []
    words = {str(expanded(path)) for path in told if path is not None}
    words = {word for word in words if len(Path(word).parts) > 2}
    for path in sorted(place.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        word = next((word for word in words if re.search(re.escape(word).encode(), data)), None)
        if word is not None:
            raise RunError(f"{path.name} would name the folder {word}.", "Please report this.")
