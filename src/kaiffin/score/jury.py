"""Who judges single pictures: CLIP-T to the prompt of each and, with photos, CLIP-I.

Where `panel` weighs adapters against each other in pairs, this says of each picture how it stands:
for `kaiffin rank`, `grid`, `demo` and `generate --best`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from kaiffin.data.images import open_photo
from kaiffin.foundation.config import Config
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.score import measures
from kaiffin.score.judge import Scorer
from kaiffin.score.photos import in_folder, photos_of

BATCH = 64  # pictures that are opened at once

Scores = Mapping[str, Sequence[float]]  # by measure (clip_t, clip_i), a number for each picture


@dataclass(frozen=True)
class Jury:
    """Who judges, the photos that pictures are compared with, and whether nobody trained on
    them."""

    prompt: Scorer
    identity: Scorer
    photos: Sequence[Image.Image] = ()
    held_out: bool = True

    @property
    def words(self) -> str:
        """Who judged, and against what."""
        said = f"judged by {self.prompt.name}"
        if not self.photos:
            return f"{said}; no photos to compare with (--like)"
        if self.identity is not self.prompt:
            said += f", likeness by {self.identity.name}"
        kind = "nobody trained on" if self.held_out else "were trained on"
        return f"{said}, against {len(self.photos)} photos that {kind}"

    def scores(
        self, paths: Sequence[Path], plain: Sequence[str], *, tell: Tell = SILENT
    ) -> dict[str, list[float]]:
        """`measures.clip_t` of each picture and its plain prompt; with photos also clip_i, which is
        `measures.identity`. Raises PhotoError naming a picture that cannot be opened."""
        with tell.progress("judging", len(paths)) as wait:
            shown, alike = [], []
            for start in range(0, len(paths), BATCH):
                images = [open_photo(path).image for path in paths[start : start + BATCH]]
                shown.append(self.prompt.embed_images(images))
                if self.photos:
                    alike.append(self._alike(images, shown[-1]))
                wait.advance(len(images))
        texts = self.prompt.embed_texts(plain)
        found = {"clip_t": measures.clip_t(torch.cat(shown), texts).tolist()}
        if alike:
            photos = self.identity.embed_images(self.photos)
            near = measures.identity(torch.cat(alike), photos, held_out=self.held_out)
            found["clip_i"] = near.tolist()
        return found

    def _alike(self, images: Sequence[Image.Image], shown: Tensor) -> Tensor:
        """(N, D) as the identity judge sees them; shown: as the prompt's judge does."""
        return shown if self.identity is self.prompt else self.identity.embed_images(images)


def open_jury(
    judge: str, plain: Sequence[str], *, identity_judge: str | None = None,
    photos: Sequence[Path] = (), held_out: bool = True, tell: Tell = SILENT,
) -> Jury:  # fmt: skip
    """The judges, shown every plain prompt: before pictures are made, since that a judge is
    missing, or reads no text, must not be found out after an hour.

    Raises MissingWeightsError for a judge that is not there, PhotoError for photos.
    """
    prompt = Scorer(judge)
    prompt.embed_texts(plain)
    if prompt.too_long(plain):
        tell.note(f"note: the judge sees only the first {prompt.max_tokens - 2} tokens")
    identity = Scorer(identity_judge) if identity_judge not in (None, judge) else prompt
    return Jury(prompt, identity, [open_photo(path).image for path in photos], held_out)


def photos_to_compare(
    config: Config, run: Run | None, *, tell: Tell = SILENT
) -> tuple[list[Path], bool]:
    """(photos, whether nobody trained on them): those of `score.like`, else those that the run held
    out, else those it was trained on; [] for a base alone."""
    if config.score.like:
        return in_folder(config.score.like, tell=tell), True
    trained, held_out = photos_of(run) if run else ([], [])
    return held_out or trained, bool(held_out)
