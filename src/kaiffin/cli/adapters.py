"""`kaiffin adapter ...`: flags -> one function of a story. Loads no torch for `--help`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from kaiffin.cli.show import adapter as show
from kaiffin.cli.terminal import TERMINAL
from kaiffin.foundation.errors import ConfigError

app = typer.Typer(help="Adapter files: look, convert, prove, edit.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="A .safetensors file or a PEFT folder.")]
Target = Annotated[Path, typer.Argument(help="What is written; must not be there yet.")]
Base = Annotated[
    str | None, typer.Option("--base", help="The base it is for; default: what the file says.")
]
Rank = Annotated[int | None, typer.Option("--rank", help="Ranks that every layer keeps.")]
Energy = Annotated[
    float | None, typer.Option("--energy", help="Share of the squared norm to keep, such as 0.95.")
]


@app.command()
def inspect(file: File, base: Base = None) -> None:
    """Format, base, ranks, alphas, norms, trigger; weights; exit code 1 if it would not load."""
    from kaiffin.stories import inspect

    found = inspect.inspect(file, base, tell=TERMINAL)
    show.inspection(found)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def convert(
    file: File,
    out: Target,
    to: Annotated[Literal["kohya", "peft", "diffusers"], typer.Option("--to", help="Layout.")],
    base: Base = None,
) -> None:
    """The same adapter in another layout, exact in weight and strength."""
    from kaiffin.stories import adapter

    show.converted(adapter.convert(file, out, to, base, tell=TERMINAL))


@app.command()
def verify(
    file: File, base: Annotated[str, typer.Option("--base", help="The base it is for.")]
) -> None:
    """Prove that others' code reads the file to the same output; exit code 1 if not."""
    from kaiffin.stories import adapter

    made = adapter.verify(file, base, tell=TERMINAL)
    show.proof(made)
    if not made.holds:
        raise typer.Exit(1)


@app.command()
def merge(
    files: Annotated[list[str], typer.Argument(help="FILE[:WEIGHT], two or more.")],
    out: Annotated[Path, typer.Option("--out", help="The file that is written.")],
    rank: Rank = None,
    base: Base = None,
    into: Annotated[
        str | None, typer.Option("--into", help="Merge into this base; --out is then a folder.")
    ] = None,
) -> None:
    """The weighted sum of adapters as one file, or a base with them in its weights."""
    from kaiffin.pictures import make
    from kaiffin.stories import adapter

    wanted = [make.parse_adapter(text) for text in files]
    specs = []
    for one in wanted:
        if one.weights.number is None:
            raise ConfigError(f"{one.path}: a merge takes one number for each.", "Write :0.8.")
        specs.append((one.path, one.weights.number))
    if into is not None:
        if rank is not None or base is not None:
            raise ConfigError("--rank and --base have no effect with --into.", "Drop them.")
        show.merged_base(adapter.merge_into(into, specs, out, tell=TERMINAL))
    else:
        show.merged(adapter.merge(specs, out, rank, base, tell=TERMINAL))


@app.command()
def resize(
    file: File, out: Target, rank: Rank = None, energy: Energy = None, base: Base = None
) -> None:
    """Fewer ranks by SVD; says what each block loses."""
    from kaiffin.stories import adapter

    show.resized(adapter.resize(file, out, rank, energy, base, tell=TERMINAL))


@app.command()
def extract(
    tuned: Annotated[str, typer.Argument(help="The fine-tuned checkpoint: file or folder.")],
    base: Annotated[str, typer.Argument(help="What it was tuned from.")],
    out: Target,
    rank: Rank = None,
    energy: Energy = None,
) -> None:
    """An adapter out of a fine-tuned checkpoint: the difference of its weights, by SVD."""
    from kaiffin.stories import adapter

    show.extracted(adapter.extract(tuned, base, out, rank, energy, tell=TERMINAL))


@app.command()
def diff(
    a: File, b: Annotated[Path, typer.Argument(help="Another one.")], base: Base = None
) -> None:
    """How two adapters differ, block by block."""
    from kaiffin.stories import adapter

    show.differences(adapter.diff(a, b, base, tell=TERMINAL))


@app.command("export-comfy")
def export_comfy(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    prompt: Annotated[str | None, typer.Option(help="Prompt in it; default: the subject.")] = None,
) -> None:
    """A ComfyUI workflow with the adapter's loader in it, beside the adapter."""
    from kaiffin.stories import adapter

    show.workflow(adapter.export_comfy(run, prompt, tell=TERMINAL))
