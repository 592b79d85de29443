"""The commands that make pictures: generate, rank, demo. Torch-free until one of them runs."""

from __future__ import annotations

import math
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from kaiffin.cli.settings import Command, argument, option
from kaiffin.foundation.errors import ConfigError, SettingError
from kaiffin.foundation.schema import SEEDS, Together
from kaiffin.foundation.tell import Tell

if TYPE_CHECKING:
    from kaiffin.pictures.start import Start


class Generate(Command):
    """Make pictures, with the recipe of each inside its PNG, and a labelled sheet."""

    takes = ("base", "sample", "score.judge", "score.like")
    short = ("sample", "score")

    source: str | None = argument("a run folder, or a base such as miniature", None)
    prompt: str | None = argument("what to show", None)
    prompts: Path | None = option(None, "text file, one prompt a line", panel="Pictures")
    count: int = option(1, "pictures per prompt", "-n", ge=1, panel="Pictures")
    seed: int = option(
        0, "seed of the first picture; the next are +1; -1 draws one, and says it", ge=-1,
        le=SEEDS - 1, panel="Pictures",
    )  # fmt: skip
    batch_size: Together | None = option(
        None, "pictures computed together [4]; auto: as many as prove quickest for the base and the"
        " size; of --from [as many as it was made with]", metavar="N|auto", panel="Pictures",
    )  # fmt: skip
    picture: Path | None = option(
        None, "make this picture of Kaiffin's again", "--from", panel="Pictures"
    )
    from_image: Path | None = option(
        None, "a photo that is painted over (img2img)", panel="Ways in"
    )
    strength: float | None = option(
        None, "share of the steps that paint over it: 0 none, 1 from noise alone [0.6]", ge=0, le=1,
        panel="Ways in",
    )  # fmt: skip
    mask: Path | None = option(
        None, "of --from-image: white where it is painted over; the rest stays (inpaint)",
        panel="Ways in",
    )  # fmt: skip
    feather: int | None = option(
        None, "width of the mask's soft edge in pixels [a 32nd of the shorter side]", ge=0, le=1024,
        panel="Ways in",
    )  # fmt: skip
    vary: float | None = option(
        None, "neighbours of one seed: so far from it, 0 to 1", ge=0, le=1, panel="Ways in"
    )
    vary_seed: int | None = option(
        None, "seed towards which --vary goes; of -n the next are +1 [the seed + 1]", ge=0,
        le=SEEDS - 1, panel="Ways in",
    )  # fmt: skip
    upscale: float | None = option(
        None, "so many times the size, in a second pass", ge=1, le=4, panel="Ways in"
    )
    detail: bool = option(
        False, "a second pass over the subject's part, found by its word in the prompt",
        panel="Ways in",
    )  # fmt: skip
    box: str | None = option(
        None, "a second pass over this part, in pixels", metavar="LEFT,TOP,WIDTH,HEIGHT",
        panel="Ways in",
    )  # fmt: skip
    second: float | None = option(
        None, "strength of the second passes [0.4]", ge=0, le=1, panel="Ways in"
    )
    adapter: list[str] = option(
        [], "another adapter; weights such as 0.8, unet=0.8,text=0.4 or 1..0.3; repeatable",
        metavar="FILE[:WEIGHTS]", panel="Adapters",
    )  # fmt: skip
    adapters: list[Path] = option(
        [], "folder with adapters that prompts name, as in <lora:NAME:0.8>, and with embeddings,"
        " whose names are words; repeatable",
        metavar="DIR", panel="Adapters",
    )  # fmt: skip
    embedding: list[Path] = option(
        [], "a textual inversion file; its name is its word in prompts; repeatable",
        metavar="FILE", panel="Adapters",
    )  # fmt: skip
    skip_unknown: bool = option(
        False, "go on without what an adapter file holds and Kaiffin does not apply",
        panel="Adapters",
    )  # fmt: skip
    region: list[str] = option(
        [], "where each adapter acts: columns or rows in the order of the prompt, or as in"
        " kaiffin=0,0,0.5,1 (left, top, right, bottom, of 1) for each; repeatable",
        metavar="columns|rows|WORD=BOX", panel="Adapters",
    )  # fmt: skip
    blend: str | None = option(
        None, "mix two phases or adapters: w takes (1-w) and w of them; 0,0.5,1 is a grid",
        metavar="X,...", panel="Adapters",
    )  # fmt: skip
    checkpoint: str | None = option(
        None, "of a run: best, which `kaiffin choose` found, or a candidate's step",
        metavar="best|STEP", panel="Adapters",
    )  # fmt: skip
    best: int | None = option(None, "choose so many per prompt, by score", ge=1, panel="Score")
    out: Path | None = option(None, "folder that is written", panel="Output")
    no_metadata: bool = option(False, "write no prompt or recipe into the files", panel="Output")

    def __call__(self) -> None:
        from kaiffin.cli.show import pictures as show
        from kaiffin.pictures.named import Library
        from kaiffin.pictures.request import read_prompts, refuse_large
        from kaiffin.stories.generate import Order, generate, remake

        if self.picture is not None:
            if self.source or self.prompt or self.prompts or self._start(0):
                raise ConfigError(
                    "--from remakes one picture, and takes no prompt and no other way in.",
                    "Drop one.",
                )
            folder = self.out or Path("images")
            made = remake(
                self.picture, folder, metadata=not self.no_metadata, alone=self.batch_size == 1,
                tell=self.tell,
            )  # fmt: skip
            self.answer(made, show.again)
            return
        if self.source is None:
            raise ConfigError("nothing to generate with.", "Name a run folder or a base.")
        idle = [name for name in self.settings if name.startswith("score.")]
        if idle and self.best is None:
            why = "has no effect without --best"
            raise SettingError("command line", idle[0], self.settings[idle[0]], why)
        seed = drawn(self.seed, self.tell)
        refuse_large(seed, self.count)
        order = Order(
            self.source,
            read_prompts(self.prompt, self.prompts),
            count=self.count,
            seed=seed,
            start=self._start(seed),
            adapters=self.adapter,
            library=Library(tuple(self.adapters)),
            blends=numbers("--blend", self.blend),
            checkpoint=self.checkpoint,
            best=self.best,
            batch_size=self.batch_size or 4,
            out=self.out,
            metadata=not self.no_metadata,
            embeddings=tuple(self.embedding),
            skip_unknown=self.skip_unknown,
            regions=tuple(self.region),
        )
        self.answer(generate(order, changes=self.settings, tell=self.tell), show.made)

    def _start(self, seed: int) -> Start | None:
        """The way in that is asked for. ConfigError for a flag without effect."""
        from kaiffin.pictures.start import File, Start

        for name, other in (
            ("strength", "from_image"), ("mask", "from_image"), ("feather", "mask"),
            ("vary_seed", "vary"),
        ):  # fmt: skip
            if getattr(self, name) is not None and getattr(self, other) is None:
                own, missing = (f"--{one.replace('_', '-')}" for one in (name, other))
                raise ConfigError(f"{own} has no effect without {missing}.", "Give both.")
        if self.second is not None and not (self.upscale or self.detail or self.box):
            raise ConfigError(
                "--second has no effect without a second pass.", "Add --upscale, --detail or --box."
            )
        if self.detail and self.box:
            raise ConfigError("--box says where, and so does --detail.", "Give one of them.")
        numbers = ("strength", "feather", "vary", "vary_seed", "upscale", "second")
        given = {name: getattr(self, name) for name in numbers} | {
            "image": self.from_image and File.at(self.from_image),
            "mask": self.mask and File.at(self.mask),
            "detail": "{token}" if self.detail else None,
            "box": box(self.box),
        }
        if self.vary and self.vary_seed is None:
            given["vary_seed"] = (seed + 1) % SEEDS
        given = {name: value for name, value in given.items() if value is not None}
        return Start.of("--", **given) if given else None


def drawn(seed: int, tell: Tell) -> int:
    """The seed that was given; -1 stands for any, as in other programs, and is never written."""
    if seed == -1:
        seed = secrets.randbelow(2**32)
        tell.note(f"seed {seed}, drawn as --seed -1 asks")
    return seed


def box(text: str | None) -> tuple[int, ...] | None:
    """`10,20,64,64` as whole numbers."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--box {text!r} is no box.", "Write LEFT,TOP,WIDTH,HEIGHT in pixels.")
    return tuple(map(int, parts))


def numbers(flag: str, text: str | None) -> list[float]:
    """`0,0.5,1` as numbers."""
    try:
        found = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise ConfigError(f"{flag} {text!r} is not a list of numbers.", "Write 0,0.5,1.")
    return found


class Rank(Command):
    """Any pictures in order: the likeness to photos is a gate, then the prompt decides."""

    pictures: list[Path] = argument("pictures, or folders of them")
    prompt: str = option(..., "what they should show, in plain words")
    like: Path | None = option(None, "folder with photos of the subject")
    judge: str | None = option(None, "a folder or hub id with a CLIP or SigLIP, or miniature")
    best: int | None = option(None, "choose so many", ge=1)
    out: Path | None = option(None, "sheet (PNG) that is written", panel="Output")

    def __call__(self) -> None:
        from kaiffin.cli.show import pictures as show
        from kaiffin.stories.rank import rank

        found = rank(
            self.pictures, self.prompt, like=self.like, judge=self.judge, best=self.best,
            out=self.out, tell=self.tell,
        )  # fmt: skip
        self.answer(found, show.ranking)


class Demo(Command):
    """From photos to pictures on the embedded base, in about two minutes on a laptop."""

    subject: str = option("kaiffin", "kaiffin or plush")
    seed: int = option(0, "seed of the training", ge=0, le=SEEDS - 1)
    steps: int | None = option(None, "training steps; derived when left out", ge=1)
    out: Path = option(Path("demo"), "folder that is written", panel="Output")

    def __call__(self) -> None:
        from kaiffin.cli.show import demo as show
        from kaiffin.stories.demo import demo

        self.answer(demo(self.out, self.subject, self.seed, self.steps, tell=self.tell), show.demo)
