"""`kaiffin adapter ...`: look, convert, prove, edit. Torch-free until one runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from kaiffin.cli.settings import Command, argument, option
from kaiffin.foundation.errors import ConfigError

FILE = "a .safetensors file or a PEFT folder"
TARGET = "what is written; must not be there yet"
BASE = "the base it is for; default: what the file says"
RANK = "ranks that every layer keeps"
SKIP = "go on without what Kaiffin does not apply; the header says what it was"
ENERGY = "share of the squared norm to keep, such as 0.95"


class Inspect(Command):
    """Format, base, weights, ranks, alphas, norms, trigger; exit code 1 if it would not load."""

    file: Path = argument(FILE)
    base: str | None = option(None, BASE)

    def __call__(self) -> int:
        from kaiffin.cli.show import adapter as show
        from kaiffin.stories.inspect import inspect

        found = inspect(self.file, self.base, tell=self.tell)
        self.answer(found, show.inspection)
        return 1 if found.problems else 0


class Convert(Command):
    """The same adapter in another layout, exact in weight and strength."""

    file: Path = argument(FILE)
    out: Path = argument(TARGET)
    to: Literal["kohya", "peft", "diffusers"] = option(..., "layout")
    plain: bool = option(
        False,
        "where ranks depend on the timestep (adapter.min_rank): their mean, for other programs",
    )
    base: str | None = option(None, BASE)
    skip_unknown: bool = option(False, SKIP)

    def __call__(self) -> None:
        from kaiffin.cli.show import adapter as show
        from kaiffin.stories import adapter

        made = adapter.convert(
            self.file, self.out, self.to, self.base,
            plain=self.plain, skip_unknown=self.skip_unknown, tell=self.tell,
        )  # fmt: skip
        self.answer(made, show.converted)


class Verify(Command):
    """Prove that others' code reads the file to the same output; exit code 1 if not."""

    file: Path = argument(FILE)
    base: str = option(..., "the base it is for")
    skip_unknown: bool = option(False, "prove what is left without what Kaiffin does not apply")

    def __call__(self) -> int:
        from kaiffin.cli.show import adapter as show
        from kaiffin.stories import adapter

        made = adapter.verify(self.file, self.base, skip_unknown=self.skip_unknown, tell=self.tell)
        self.answer(made, show.proof)
        return 0 if made.holds else 1


class Merge(Command):
    """The weighted sum of adapters as one file, or a base with them in its weights."""

    files: list[str] = argument("FILE[:WEIGHT], two or more")
    out: Path = option(..., "the file that is written")
    rank: int | None = option(None, RANK, ge=1)
    base: str | None = option(None, BASE)
    into: str | None = option(
        None, "merge into this base; --out is then a folder or a file", metavar="BASE"
    )
    to: Literal["folder", "single"] = option(
        "folder", "with --into: diffusers' folder, or one checkpoint file as A1111 reads it"
    )
    dtype: Literal["fp16", "bf16", "fp32"] = option("fp16", "of a checkpoint file's weights")
    skip_unknown: bool = option(False, SKIP)

    def __call__(self) -> None:
        from kaiffin.cli.show import adapter as show
        from kaiffin.pictures import make
        from kaiffin.stories import adapter

        specs = []
        for one in (make.parse_adapter(text) for text in self.files):
            if one.weights.number is None:
                raise ConfigError(f"{one.path}: a merge takes one number for each.", "Write :0.8.")
            specs.append((one.path, one.weights.number))
        if self.into is None:
            if self.to != "folder":
                raise ConfigError("--to single has no effect without --into.", "Name the base.")
            made = adapter.merge(
                specs, self.out, self.rank, self.base,
                skip_unknown=self.skip_unknown, tell=self.tell,
            )  # fmt: skip
            self.answer(made, show.merged)
            return
        if self.rank is not None or self.base is not None:
            raise ConfigError("--rank and --base have no effect with --into.", "Drop them.")
        whole = adapter.merge_into(
            self.into, specs, self.out, to=self.to, dtype=self.dtype,
            skip_unknown=self.skip_unknown, tell=self.tell,
        )  # fmt: skip
        self.answer(whole, show.merged_base)


class Resize(Command):
    """Fewer ranks by SVD; says what each block loses."""

    file: Path = argument(FILE)
    out: Path = argument(TARGET)
    rank: int | None = option(None, RANK, ge=1)
    energy: float | None = option(None, ENERGY)
    base: str | None = option(None, BASE)
    skip_unknown: bool = option(False, SKIP)

    def __call__(self) -> None:
        from kaiffin.cli.show import adapter as show
        from kaiffin.stories import adapter

        made = adapter.resize(
            self.file, self.out, self.rank, self.energy, self.base,
            skip_unknown=self.skip_unknown, tell=self.tell,
        )  # fmt: skip
        self.answer(made, show.resized)


class Extract(Command):
    """An adapter out of a fine-tuned checkpoint: the difference of its weights, by SVD."""

    tuned: str = argument("the fine-tuned checkpoint: file or folder")
    base: str = argument("what it was tuned from")
    out: Path = argument(TARGET)
    rank: int | None = option(None, RANK, ge=1)
    energy: float | None = option(None, ENERGY)

    def __call__(self) -> None:
        from kaiffin.cli.show import adapter as show
        from kaiffin.stories import adapter

        made = adapter.extract(
            self.tuned, self.base, self.out, self.rank, self.energy, tell=self.tell
        )
        self.answer(made, show.extracted)


class Diff(Command):
    """How two adapters differ, block by block."""

    a: Path = argument(FILE)
    b: Path = argument("another one")
    base: str | None = option(None, BASE)

    def __call__(self) -> None:
        from kaiffin.cli.show import adapter as show
        from kaiffin.stories import adapter

        self.answer(adapter.diff(self.a, self.b, self.base, tell=self.tell), show.differences)


class ExportComfy(Command):
    """A ComfyUI workflow with the adapter's loader in it, beside the adapter."""

    run: Path = argument("a finished run folder")
    prompt: str | None = option(None, "prompt in it; default: the subject")

    def __call__(self) -> None:
        from kaiffin.cli.show import adapter as show
        from kaiffin.stories import adapter

        self.answer(adapter.export_comfy(self.run, self.prompt, tell=self.tell), show.workflow)
