"""Who judges pictures, against which photos; and what they make of an adapter's pictures.

The one way to open judges: every command that scores comes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kaiffin.data.images import open_photo
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import PhotoError
from kaiffin.foundation.run import Run
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted
from kaiffin.score import measures, selection, table
from kaiffin.score.catalogue import SUBJECT
from kaiffin.score.choice import Stop
from kaiffin.score.gallery import Gallery
from kaiffin.score.judge import Scorer, judge_of, no_judge
from kaiffin.score.photos import Photos, subject_photos
from kaiffin.score.questions import PromptSet
from kaiffin.score.statistics import Interval, clustered
from kaiffin.score.table import Embeddings, References, Row

BATCH = 64  # pictures that are opened at once

Scores = Mapping[str, Sequence[float]]  # by measure, a number for each picture


@dataclass(frozen=True)
class Panel:
    """The judges of a command: `prompt` how well words are shown, `identity` how like the subject.

    references: the photos to compare with, None where there are none.
    """

    prompt: Scorer
    identity: Scorer
    references: References | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Who judged and against what, as a choice names them."""
        return {
            "judge": self.prompt.name,
            "identity_judge": self.identity.name,
            "references": self.references.as_json() if self.references else {},
        }

    @property
    def words(self) -> str:
        """Who judges single pictures, and against what."""
        said, photos = f"judged by {self.prompt.name}", self.references
        if photos is None:
            return f"{said}; no photos to compare with (--like)"
        if self.identity is not self.prompt:
            said += f", likeness by {self.identity.name}"
        kind = "nobody trained on" if photos.held_out else "were trained on"
        return f"{said}, against {counted(len(photos.compared), 'photo')} that {kind}"

    def against(self, photos: Photos) -> Panel:
        """The same judges before other photos."""
        return replace(self, references=_references(self.identity, photos))

    def read(self, plain: Sequence[str], *, tell: Tell = SILENT) -> Panel:
        """These judges, who have read every plain prompt: before pictures are made, since that a
        judge reads no text must not be found out after an hour."""
        self.prompt.embed_texts(plain)
        if self.prompt.too_long(plain):
            tell.note(f"note: the judge sees only the first {self.prompt.max_tokens - 2} tokens")
        return self

    def scores(
        self, paths: Sequence[Path], plain: Sequence[str], *, tell: Tell = SILENT
    ) -> dict[str, list[float]]:
        """Of each single picture `clip_t`, `measures.clip_t` of it and its plain prompt, and with
        photos `clip_i`, `measures.identity`. PhotoError naming a picture that cannot be opened."""
        prompt, identity = [], []
        with tell.progress("judging", len(paths)) as progress:
            for start in range(0, len(paths), BATCH):
                images = [open_photo(path).image for path in paths[start : start + BATCH]]
                prompt.append(self.prompt.embed_images(images))
                identity.append(self._alike(images, prompt[-1]))
                progress.advance(len(images))
        texts = self.prompt.embed_texts(plain)
        found = {"clip_t": measures.clip_t(torch.cat(prompt), texts).tolist()}
        if self.references:
            found["clip_i"] = self.references.identity(torch.cat(identity)).tolist()
        return found

    def _alike(self, images: Sequence[Image.Image], prompt: Tensor) -> Tensor:
        """(N, D) as the identity judge sees the pictures; prompt: as the other one does."""
        alone = self.identity is self.prompt or self.references is None
        return prompt if alone else self.identity.embed_images(images)


def open_panel(
    config: Config, photos: Photos | None = None, *, cache: Path | None = None, tell: Tell
) -> Panel:
    """The judges that `score` in the config names, before `photos`.

    Without a name the miniature's CLIP judges the bases inside Kaiffin, and no other. cache: the
    folder where what was seen is kept, by content of picture or text and weights of the judge.
    Raises ConfigError where no judge is named, MissingWeightsError for one that is not there,
    PhotoError for a photo that cannot be opened.
    """
    name, other = judge_of(config), config.score.identity_judge
    if name is None:
        raise no_judge(config.base.name)
    kept = TensorCache(cache)
    prompt = Scorer(name, cache=kept, tell=tell)
    identity = Scorer(other, cache=kept, tell=tell) if other and other != name else prompt
    return Panel(prompt, identity, _references(identity, photos or Photos()))


def panel_of(runs: Sequence[Run], config: Config, *, tell: Tell) -> Panel:
    """The judges before the photos of `runs`, or of `score.like`: never without any.

    Photos count as held out where none of the runs was trained on them. Raises as `open_panel`, and
    PhotoError where no photo is there.
    """
    photos = subject_photos(runs, config.score.like, tell=tell)
    panel = open_panel(config, photos, cache=runs[0].cache / "scores", tell=tell)
    if panel.references is None:
        raise PhotoError(
            f"{runs[0].path}: the photos it was trained on are not where they were.",
            "Put them back, or name photos of the subject with --like.",
        )
    return panel


def _references(judge: Scorer, photos: Photos) -> References | None:
    """The photos as `judge` sees them; those held out count as trained on where none else are."""
    trained = photos.trained or photos.held_out
    if not trained:
        return None
    images = [open_photo(path).image for path in trained]
    rows = judge.embed_images(images)
    layouts = torch.stack([measures.layout(image) for image in images])
    to = rows
    if photos.held_out:
        to = judge.embed_images([open_photo(path).image for path in photos.held_out])
    names, compared = ([p.name for p in paths] for paths in (trained, photos.references))
    return References(names, rows, layouts, compared, to, bool(photos.held_out))


# --- what they make of it -----------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """The pictures of one adapter, scored.

    rows: one a picture; overall: what a choice is made by, one for each picture of the subject;
    groups: the prompt of each of those.
    """

    paths: Sequence[Path]
    embeddings: Embeddings
    rows: Sequence[Row]
    means: dict[str, Interval]
    overall: Sequence[float]
    groups: Sequence[int]

    def stop(
        self, step: int = 0, adapter: str = "", sha256: str = "", loss: float | None = None
    ) -> Stop:
        """As a choice holds it; without a step the base."""
        means = self.means | {"overall": clustered(self.overall, self.groups)}
        return Stop(step, tuple(self.paths), tuple(self.rows), means, adapter, sha256, loss)


def measure(
    gallery: Gallery, adapter: Path | None, asked: PromptSet, panel: Panel,
    base: Measurement | None = None,
) -> Measurement:  # fmt: skip
    """Scores the gallery's pictures of an adapter, in pairs with those of the base (None where the
    base itself is measured). ValueError for a panel without photos."""
    if panel.references is None:
        raise ValueError("there are no photos to compare with")
    paths = gallery.paths(adapter, asked)
    images = [open_photo(path).image for path in paths]
    own = Embeddings(images, panel.prompt.embed_images(images), panel.identity.embed_images(images))
    before = base.embeddings if base else own
    texts = panel.prompt.embed_texts([prompt.plain for prompt in asked.prompts])
    sections = [prompt.section for prompt in asked.prompts]
    seeds = [request.seed for request in asked.requests]
    rows = table.rows(sections, asked.of, seeds, texts, before, own, panel.references)
    mine = [i for i, row in enumerate(rows) if row["section"] in SUBJECT]
    overall = selection.overall(
        [rows[i]["likeness"] for i in mine], [rows[i]["prompt_share"] for i in mine]
    )
    groups = [asked.of[i] for i in mine]
    return Measurement(paths, own, rows, table.means(rows, own), overall, groups)
