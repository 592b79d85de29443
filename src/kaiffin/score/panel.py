"""Who judges an adapter's pictures, against which photos; and what they make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kaiffin.data.images import open_photo
from kaiffin.foundation.cache import TensorCache
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, PhotoError
from kaiffin.foundation.run import Run
from kaiffin.score import measures, selection, table
from kaiffin.score.gallery import Gallery
from kaiffin.score.judge import Scorer, judge_of
from kaiffin.score.photos import in_folder, photos_of_all
from kaiffin.score.questions import Asked
from kaiffin.score.statistics import Interval, clustered
from kaiffin.score.table import References, Row, Seen


@dataclass(frozen=True)
class Judges:
    """Who judges, against which photos. words: what the pictures are compared with."""

    prompt: Scorer
    identity: Scorer
    references: References
    to: Sequence[str]
    words: str

    @property
    def kind(self) -> str:
        if self.references.held_out:
            return "held-out"
        return "one photo" if len(self.to) == 1 else "leave-one-out"

    def as_json(self) -> dict[str, Any]:
        """As choice.json names them."""
        return {
            "judge": self.prompt.name,
            "identity_judge": self.identity.name,
            "references": {
                "kind": self.kind, "photos": list(self.to),
                "ceiling": self.references.ceiling, "words": self.words,
            },
        }  # fmt: skip


def open_judges(runs: Sequence[Run], config: Config) -> Judges:
    """The judges that the config names, and the photos of `runs` or of `score.like`.

    Photos count as held out where none of the runs was trained on them. Raises ConfigError where no
    judge is named, PhotoError where no photo is there.
    """
    name = judge_of(config)
    if name is None:
        raise ConfigError(
            f"no judge is named, and the miniature's knows nothing of {config.base.name}.",
            "Give --judge a folder or hub id with a CLIP, such as openai/clip-vit-large-patch14.",
        )
    cache = TensorCache(runs[0].folder("cache") / "scores")
    prompt = Scorer(name, cache=cache)
    other = config.score.identity_judge
    identity = Scorer(other, cache=cache) if other and other != name else prompt
    trained, held_out = photos_of_all(runs)
    given = in_folder(config.score.like) if config.score.like else held_out
    if not trained and not given:
        raise PhotoError(
            f"{runs[0].path}: the photos it was trained on are not where they were.",
            "Put them back, or name photos of the subject with --like.",
        )
    trained = trained or given
    photos = [open_photo(p).image for p in trained]
    seen = identity.embed_images(photos)
    layouts = torch.stack([measures.layout(photo) for photo in photos])
    to = identity.embed_images([open_photo(p).image for p in given]) if given else seen
    names = [p.name for p in trained]
    references = References(names, seen, layouts, to, bool(given))
    compared = [p.name for p in given or trained]
    return Judges(prompt, identity, references, compared, _words(len(compared), bool(given)))


def _words(count: int, held_out: bool) -> str:
    if held_out:
        return f"compared with {count} photos that were not trained on"
    if count == 1:
        return (
            "compared with the one photo that was trained on: nothing could be held out, so a copy"
            " of it scores highest; look at the share of copies"
        )
    return (
        f"compared with the {count} photos that were trained on, but never with the one that is"
        " nearest: a copy of a photo gains nothing"
    )


# --- what they make of it -----------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """The pictures of one adapter, scored.

    rows: one a picture; overall: what a choice is made by, one for each picture of the subject;
    groups: the prompt of each of those.
    """

    paths: Sequence[Path]
    seen: Seen
    rows: Sequence[Row]
    means: dict[str, Interval]
    overall: Sequence[float]
    groups: Sequence[int]

    def as_json(self, folder: Path) -> dict[str, Any]:
        """As choice.json holds it, paths relative to `folder`."""
        return {
            "pictures": [path.relative_to(folder).as_posix() for path in self.paths],
            "rows": list(self.rows),
            "means": {name: asdict(value) for name, value in self.means.items()},
            "overall": asdict(clustered(self.overall, self.groups)),
        }


def measure(
    gallery: Gallery, adapter: Path | None, asked: Asked, judges: Judges,
    base: Measured | None = None,
) -> Measured:  # fmt: skip
    """Scores the gallery's pictures of an adapter, in pairs with those of the base (None where the
    base itself is measured)."""
    paths = gallery.paths(adapter, asked)
    images = [open_photo(path).image for path in paths]
    seen = Seen.by(judges.prompt, judges.identity, images)
    before = base.seen if base else seen
    texts = judges.prompt.embed_texts([prompt.plain for prompt in asked.prompts])
    sections = [prompt.section for prompt in asked.prompts]
    seeds = [request.seed for request in asked.requests]
    rows = table.rows(sections, asked.of, seeds, texts, before, seen, judges.references)
    mine = [i for i, row in enumerate(rows) if row["section"] in table.SUBJECT]
    overall = selection.overall(
        [rows[i]["likeness"] for i in mine], [rows[i]["prompt_share"] for i in mine]
    )
    groups = [asked.of[i] for i in mine]
    return Measured(paths, seen, rows, table.means(rows, seen), overall, groups)
