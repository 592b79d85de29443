"""`kaiffin caption`: captions beside the photos, written by a model of the user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kaiffin.data import images, sources
from kaiffin.data.files import shown
from kaiffin.data.sources import Source
from kaiffin.foundation.config import Config, SubjectConfig
from kaiffin.foundation.errors import PhotoError, UserError
from kaiffin.foundation.folder import expanded, write_bytes
from kaiffin.foundation.runtime import contained
from kaiffin.foundation.subject import described, fill
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.models.files.captioner import Captioner, NoAnswer

PROMPT = (
    "Describe this photo in one short sentence: the place, the light, what else is there, the kind"
    " of picture. Leave the {noun} itself out: not a word on how it looks."
)
TABLES = ("metadata", "flickr30k")


@dataclass(frozen=True)
class Captioned:
    """made: (photo, caption) that were written; kept: photos that had one; failed: (photo, reason)
    of those that still have none."""

    made: tuple[tuple[str, str], ...]
    kept: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]

    def refuse_failed(self) -> None:
        """PhotoError naming the first of the photos without a caption, if there are any."""
        if self.failed:
            (name, reason), more = self.failed[0], len(self.failed) - 1
            raise PhotoError(
                f"{name}: {reason.rstrip('.')}." + (f" And {more} more." if more else ""),
                "Write those captions by hand, or try another --captioner or --prompt.",
            )


@contained()
def caption(
    config: Config, captioner: str, *, prompt: str | None = None, again: bool = False,
    tell: Tell = SILENT,
) -> Captioned:  # fmt: skip
    """Writes a .txt beside every photo of `data.photos` that has no caption of its own.

    captioner: a folder or hub id; prompt: what it is asked, {noun} and {token} filled in; by
    default to leave the subject out, where the model can be asked; again: photos with a caption,
    too.
    """
    listing = sources.read(config.data, config.subject)
    if listing.format in TABLES:
        raise UserError(
            f"{config.data.photos}: its captions stand in a table ({listing.format} layout).",
            "Write them there, or take the table away.",
        )
    top = expanded(config.data.photos or Path())
    todo = [one for one in listing.sources if again or one.origin != "txt"]
    kept = [shown(one.path, top) for one in listing.sources if one not in todo]
    made: list[tuple[str, str]] = []
    failed = list(listing.refused)
    if todo:
        model = Captioner(captioner, tell=tell)
        if prompt is None:
            prompt = PROMPT if model.chats else ""
        asked = fill(prompt, _named(config.subject))
        names = _names(listing.sources)
        with tell.progress("captions", len(todo)) as progress:
            for number, one in enumerate(todo, 1):
                name = shown(one.path, top)
                try:
                    text = _said(model, one, asked, config)
                    write_bytes(names[one.path], f"{text}\n".encode())
                    made.append((name, text))
                except (NoAnswer, PhotoError) as error:
                    reason = str(error).removeprefix(f"{one.path.name}: ")
                    failed.append((name, reason))
                    tell.warning(f"{name}: {reason}")
                progress.update(number)
    return Captioned(tuple(made), tuple(kept), tuple(failed))


def _said(model: Captioner, photo: Source, asked: str, config: Config) -> str:
    """The photo's caption, with the subject's word in it."""
    image = images.open_photo(photo.path, config.data.background).image
    return described(model.describe(image, asked), config.data.template, config.subject)


def _named(subject: SubjectConfig) -> SubjectConfig:
    """The subject as a model understands it that never heard its word."""
    return subject if subject.noun else subject.model_copy(update={"noun": "main subject"})


def _names(listed: Sequence[Source]) -> dict[Path, Path]:
    """The caption file of each photo: `p.txt`, or `p.jpg.txt` where `p.png` lies beside it."""
    stems = Counter(one.path.with_suffix("") for one in listed)
    return {
        one.path: one.path.with_suffix(".txt")
        if stems[one.path.with_suffix("")] == 1
        else one.path.with_name(f"{one.path.name}.txt")
        for one in listed
    }
