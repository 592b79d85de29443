"""`kaiffin rank`: which pictures are best. The likeness to the subject is a gate, then the prompt
decides.

A picture that shows the prompt beautifully and lost the subject must not win. So the better half by
likeness stays (never fewer than are wanted), and of these those that show the prompt best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kaiffin.data.images import open_photo
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, UserError
from kaiffin.foundation.notebook import Shown
from kaiffin.foundation.runtime import contained
from kaiffin.foundation.settings import changed
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.tell import SILENT, Tell
from kaiffin.foundation.text import counted
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.pictures.recipe import read_recipe, save_png
from kaiffin.score import statistics
from kaiffin.score.judge import MINIATURE, no_judge
from kaiffin.score.panel import Panel, open_panel
from kaiffin.score.photos import Photos, in_folder, pictures_in


@dataclass(frozen=True)
class RankedPicture:
    """A picture and its scores; likeness is None without photos to compare with."""

    path: Path
    prompt: float
    likeness: float | None
    chosen: bool = False

    def __str__(self) -> str:
        like = "" if self.likeness is None else f"  like {self.likeness:.3f}"
        return f"prompt {self.prompt:.3f}{like}"


@dataclass(frozen=True)
class Gain:
    """What choosing brought over taking the first ones. Both are means, of the measure `name`."""

    name: str
    first: float
    chosen: float


@dataclass(frozen=True)
class Ranking(Shown):
    """Pictures in order, the chosen first.

    prompt: in plain words, as it was judged; gains: where some were left out; sheet: all of them in
    this order with their scores (PNG), where one was asked for.
    """

    judge: str
    prompt: str
    pictures: tuple[RankedPicture, ...]
    gains: tuple[Gain, ...] = ()
    sheet: Path | None = None

    @property
    def chosen(self) -> list[RankedPicture]:
        return [one for one in self.pictures if one.chosen]


@contained()
def rank(
    places: Sequence[Path], prompt: str, *, like: Path | None = None, judge: str | None = None,
    best: int | None = None, out: Path | None = None, tell: Tell = SILENT,
) -> Ranking:  # fmt: skip
    """Scores pictures and orders them; the sheet goes to `out`.

    places: files and folders; like: folder with photos of the subject that nobody trained on;
    judge: default the miniature's, for pictures whose recipes name a base inside Kaiffin; best: how
    many are chosen (default: all). Raises PhotoError naming a picture or photo that cannot be
    opened, ConfigError where no judge is named for other pictures.
    """
    paths = pictures_in(places, tell=tell)
    if best is not None and not 1 <= best <= len(paths):
        raise ConfigError(
            f"--best {best} of {counted(len(paths), 'picture')}.", "Ask for at most as many."
        )
    photos = Photos(held_out=tuple(in_folder(like, tell=tell)) if like else ())
    config = changed(Config(), **{"score.judge": judge or _judge_of(paths)})
    panel = open_panel(config, photos, tell=tell).read([prompt], tell=tell)
    return ranking(panel, paths, prompt, best, out, tell=tell)


def _judge_of(paths: Sequence[Path]) -> str:
    """The miniature's, which knows pictures of the bases inside Kaiffin and no others."""
    for path in paths:
        try:
            base = read_recipe(path)["base"]["name"]
        except UserError:
            raise no_judge(f"{path}, which does not say what it was made with") from None
        if base not in EMBEDDED:
            raise no_judge(f"{base}, which made {path}")
    return MINIATURE


def ranking(
    panel: Panel, paths: Sequence[Path], prompt: str, best: int | None, out: Path | None,
    *, tell: Tell = SILENT,
) -> Ranking:  # fmt: skip
    """The pictures by the scores of `panel`. prompt: plain; best, out: as `rank` has them."""
    count = best or len(paths)
    scores = panel.scores(paths, [prompt] * len(paths), tell=tell)
    shown, alike = scores["clip_t"], scores.get("clip_i")
    places = in_order(shown, alike, count)
    ranked = tuple(
        RankedPicture(paths[i], shown[i], alike[i] if alike else None, place < count)
        for place, i in enumerate(places)
    )
    by_name = {"prompt": shown} | ({"likeness": alike} if alike else {})
    gains = [
        Gain(name, _mean(numbers[:count]), _mean([numbers[i] for i in places[:count]]))
        for name, numbers in by_name.items()
    ]
    if out is not None:
        labels = [f"{place}. {one}" for place, one in enumerate(ranked, 1)]
        images = [open_photo(one.path).image for one in ranked]
        save_png(sheet(images, labels, title=prompt), out)
    left_out = count < len(paths)
    return Ranking(panel.prompt.name, prompt, ranked, tuple(gains) if left_out else (), out)


def in_order(prompt: Sequence[float], likeness: Sequence[float] | None, best: int) -> list[int]:
    """Places of all pictures, the chosen `best` first, each group by its prompt score.

    The gate keeps the better half by likeness, at least `best`. ValueError for scores that are not
    finite.
    """
    if likeness is None:
        return statistics.rank(prompt)
    gate = max(best, -(-len(prompt) // 2))
    by_likeness = statistics.rank(likeness)
    inside, outside = by_likeness[:gate], by_likeness[gate:]
    return sorted(inside, key=lambda i: -prompt[i]) + sorted(outside, key=lambda i: -prompt[i])


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
