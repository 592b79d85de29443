"""`kaiffin prepare`: the photos, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from kaiffin.data import sources
from kaiffin.data.findings import look_at, refuse_shared
from kaiffin.data.prepare import Prepared
from kaiffin.data.sources import Listing
from kaiffin.foundation.config import BaseConfig, Config
from kaiffin.foundation.folder import expanded, file_name
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.run import CONTACT_SHEET, MASKS
from kaiffin.foundation.runtime import Runtime, choose_threads, contained
from kaiffin.foundation.several import by_subject
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.files.facts import TextFacts, read_text_facts
from kaiffin.models.files.load import load_autoencoder, load_base
from kaiffin.models.files.resolve import is_here, is_local
from kaiffin.train.masks import Masker
from kaiffin.train.through import Through


@dataclass(frozen=True)
class PhotoSet(Shown):
    """The photos as a training would take them. sheet: the contact sheet (PNG); others: those of
    further subjects."""

    prepared: Prepared
    resolution: int
    sheet: Path
    others: tuple[PhotoSet, ...] = ()

    @property
    def every(self) -> tuple[PhotoSet, ...]:
        """Those of each subject."""
        return (self, *self.others)


@contained()
def prepare(config: Config, out: Path | None = None, *, tell: Tell = SILENT) -> PhotoSet:
    """Looks at every photo and writes a manifest and a contact sheet into `out`, by default
    prepared/<name of the photos' folder>; of several subjects each has a folder in `out`.

    Where the base is on this machine, each photo goes once through its autoencoder: what comes back
    is on the sheet. What must be mended before a training stands in `prepared.problems`; it is no
    error here.
    """
    facts = read_text_facts(config.base.name, tell)
    for remark in facts.remarks:
        tell.note(f"note: {remark}")
    places = [_place(one, out) for one in by_subject(config)]
    through = None
    if config.data.masks != "auto":  # those that are made bring what the autoencoder says along
        through = _through(config.base, facts.native_size, places[0] / "cache", tell)
    first, *others = (
        _looked_at(one, place, facts, through, tell)
        for one, place in zip(by_subject(config), places, strict=True)
    )
    refuse_shared([one.prepared for one in (first, *others)])
    return replace(first, others=tuple(others))


def _place(config: Config, out: Path | None) -> Path:
    """Where what is found of a subject's photos goes."""
    if out:
        return out / file_name(config.subject.token) if config.subjects else out
    photos = expanded(config.data.photos or Path()).resolve()
    return Path("prepared") / file_name(photos.name, "photos", keep=" .,=+()")


def _looked_at(
    config: Config, out: Path, facts: TextFacts, through: Through | None, tell: Tell
) -> PhotoSet:
    """The photos of one subject."""
    resolution, listing = config.data.resolution or facts.native_size, None
    if config.data.masks == "auto":
        through, listing = _masked(config, resolution, out, tell)
    prepared = look_at(
        config.data, config.subject, resolution, words=facts, through=through, out=out,
        listing=listing, tell=tell,
    )  # fmt: skip
    return PhotoSet(prepared, resolution, out / CONTACT_SHEET)


def _through(base: BaseConfig, native_size: int, kept: Path, tell: Tell) -> Through | None:
    """The base's autoencoder; None where it would have to be taken from the hub first."""
    if not is_here(base.name) or (base.vae and not is_local(base.vae)):
        tell.note(
            f"note: {base.name} is not on this machine yet, so the photos were not sent through its"
            " autoencoder; `kaiffin bases get` takes it"
        )
        return None
    runtime = Runtime.from_config(base)
    choose_threads(native_size, runtime.device)
    return Through(load_autoencoder(base, runtime, tell), base.name, kept, tell)


def _masked(
    config: Config, resolution: int, out: Path, tell: Tell
) -> tuple[Through, Listing]:  # fmt: skip
    """The base's autoencoder, of a base that is opened whole, and the photos with masks that it
    makes, below `out`."""
    family = load_base(config.base, Runtime.from_config(config.base), tell)
    through = Through(family, config.base.name, out / "cache", tell)
    masker = Masker(family, config.subject.noun, resolution, config.data.background)
    listing = masker.masked(sources.read(config.data, config.subject), out / MASKS, tell)
    return through, listing
