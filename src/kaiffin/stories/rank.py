"""Which pictures are best: the likeness to the subject is a gate, then the prompt decides.

A picture that shows the prompt beautifully and lost the subject must not win. So the better half by
likeness stays (never fewer than are wanted), and of these those that show the prompt best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from kaiffin.data.images import open_photo
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.run import Run
from kaiffin.foundation.sheets import sheet
from kaiffin.foundation.subject import fill, plain_prompt
from kaiffin.pictures.recipe import save_png
from kaiffin.score import measures
from kaiffin.score.judge import MINIATURE, Scorer
from kaiffin.score.photos import in_folder
from kaiffin.score.statistics import rank

console = Console(highlight=False, soft_wrap=True, markup=False)


@dataclass(frozen=True)
class Scored:
    """A picture and its scores; likeness is None without photos to compare with."""

    path: Path
    prompt: float
    likeness: float | None
    chosen: bool = False

    def __str__(self) -> str:
        like = "" if self.likeness is None else f"  like {self.likeness:.3f}"
        return f"prompt {self.prompt:.3f}{like}"


def order(prompt: Sequence[float], likeness: Sequence[float] | None, best: int) -> list[int]:
    """Places of all pictures, the chosen `best` first, each group by its prompt score.

    The gate keeps the better half by likeness, at least `best`. ValueError for scores that are not
    finite.
    """
    if likeness is None:
        return rank(prompt)
    gate = max(best, -(-len(prompt) // 2))
    by_likeness = rank(likeness)
    inside, outside = by_likeness[:gate], by_likeness[gate:]
    return sorted(inside, key=lambda i: -prompt[i]) + sorted(outside, key=lambda i: -prompt[i])


def rank_pictures(
    paths: Sequence[Path], prompt: str, *, like: Path | None = None, judge: str = MINIATURE,
    best: int | None = None, out: Path | None = None, trained_on: bool = False,
) -> list[Scored]:  # fmt: skip
    """Scores pictures, prints them in order and writes a labelled sheet to `out`.

    like: folder with photos of the subject; best: how many are chosen (default: all are ranked);
    trained_on: the photos were trained on, so that copies of them are not to gain by it.
    Raises PhotoError naming a picture or photo that cannot be opened.
    """
    if best is not None and not 1 <= best <= len(paths):
        raise ConfigError(f"--best {best} of {len(paths)} pictures.", "Ask for at most as many.")
    scorer = Scorer(judge)
    images = [open_photo(path).image for path in paths]
    if scorer.too_long([prompt]):
        console.print(f"note: the judge sees only the first {scorer.max_tokens - 2} tokens")
    shown = scorer.text_image(images, [prompt] * len(images)).tolist()
    likeness = None
    if like:
        seen, photos = (
            scorer.embed_images(images),
            scorer.embed_images([open_photo(path).image for path in in_folder(like)]),
        )
        likeness = measures.identity(seen, photos, held_out=not trained_on).tolist()
    places = order(shown, likeness, best or len(paths))
    scored = [
        Scored(paths[i], shown[i], likeness[i] if likeness else None, place < (best or len(paths)))
        for place, i in enumerate(places)
    ]
    console.print(f'judged by {scorer.name}: "{prompt}"')
    for place, one in enumerate(scored, 1):
        console.print(f"{place:3}. {one}  {one.path}{'' if one.chosen else '  (not chosen)'}")
    if best is not None and best < len(paths):
        _say_gain(scored, best, shown, likeness)
    if out is not None:
        labels = [f"{place}. {one}" for place, one in enumerate(scored, 1)]
        page = sheet([images[i] for i in places], labels, title=prompt)
        out.parent.mkdir(parents=True, exist_ok=True)
        save_png(page, out)
        console.print(f"all of them in this order on {out}")
    return scored


def _say_gain(
    scored: Sequence[Scored], best: int, shown: Sequence[float], likeness: Sequence[float] | None
) -> None:
    """What choosing brought over taking the first ones, so that its cost can be weighed."""
    chosen = scored[:best]
    _say_one("prompt", [one.prompt for one in chosen], shown[:best])
    if likeness:
        _say_one("likeness", [one.likeness or 0.0 for one in chosen], likeness[:best])
    console.print(f"  for {len(scored) / best:.1f} times the pictures")


def _say_one(name: str, chosen: Sequence[float], first: Sequence[float]) -> None:
    mean, plain = sum(chosen) / len(chosen), sum(first) / len(first)
    console.print(
        f"gain over the first {len(first)}: {name} {mean - plain:+.3f} ({plain:.3f} -> {mean:.3f})"
    )


def best_of(
    source: str, prompts: Sequence[str], pictures: Sequence[Path], best: int,
    judge: str = MINIATURE, like: Path | None = None,
) -> list[Scored]:  # fmt: skip
    """The `best` of the pictures of each prompt, which `generate` made one prompt after the other.

    source: the run or base they are of; a run's own photos are the likeness asked for, unless
    `like` names others. Writes best.png, best-2.png, ... beside the pictures.
    """
    path = Path(source)
    config = Run.open(path).config if (path / "config.yaml").is_file() else Config()
    photos = like or config.data.photos
    if photos is None or not photos.is_dir():
        console.print("note: there are no photos to compare with (--like): by prompt alone")
        photos = None
    if judge == MINIATURE and config.base.name != MINIATURE:
        console.print(
            "note: the miniature's CLIP knows a toy world only; name another with --judge"
        )
    count = len(pictures) // len(prompts)
    chosen = []
    for number, prompt in enumerate(prompts, 1):
        mine = pictures[(number - 1) * count : number * count]
        name = "best.png" if number == 1 else f"best-{number}.png"
        text = plain_prompt(fill(prompt, config.subject), config.subject)
        page = mine[0].parent / name
        found = rank_pictures(
            mine, text, like=photos, judge=judge, best=best, out=page, trained_on=like is None
        )
        chosen += [one for one in found if one.chosen]
    return chosen
