"""The commands that measure: choose, grid, compare, sweep, report. `--help` never loads torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.folder import file_name

app = typer.Typer()

Judge = Annotated[
    str | None,
    typer.Option("--judge", help="A folder or hub id with a CLIP or SigLIP, or miniature."),
]
HeldOut = Annotated[
    Path | None, typer.Option("--like", help="Folder with photos nobody trained on.")
]
Prompts = Annotated[Path | None, typer.Option("--prompts", help="YAML file with lists of prompts.")]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="Pictures of each prompt.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Pictures computed together.")]


@app.command()
def choose(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    judge: Judge = None,
    like: HeldOut = None,
    prompts: Prompts = None,
    seeds: Seeds = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Time that it may take, such as 5min or 90s.")
    ] = None,
    batch_size: BatchSize = 8,
) -> None:
    """Which of a run's checkpoints: equal pictures of each, scored; with intervals, or a draw."""
    changes, seconds = _scored(ctx, judge, like, prompts, seeds), _duration(budget)
    from kaiffin.stories import choose

    choose.choose(run, changes=changes, budget=seconds, batch_size=batch_size)


@app.command()
def grid(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="A run folder, or a base such as miniature.")],
    prompt: Annotated[
        str | None, typer.Argument(help="What to show, unless it is an axis.")
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(
            help="Columns, such as guidance=3,5,7.5, steps=10..30/5, weight=0.5,1, checkpoint=all"
            ' or "prompt=a dog|a cat"; see docs/experiments.md.'
        ),
    ] = None,
    y: Annotated[str | None, typer.Option(help="Rows, such as seed=1..4.")] = None,
    z: Annotated[str | None, typer.Option(help="Blocks, one below the other.")] = None,
    count: Annotated[
        int, typer.Option("-n", min=1, help="Pictures of each cell, for the scores.")
    ] = 1,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of all; 0 by default, with -n the next too.")
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What not to show.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 5 by default.")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="ddpm, ddim, euler, dpm++2m or dpm++2m-sde.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    batch_size: BatchSize = 4,
    judge: Judge = None,
    like: HeldOut = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default: grids in the run.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="However many pictures these are.")] = False,
) -> None:
    """Pictures over up to three axes of generation, as a labelled sheet and a scored table."""
    axes = {"x": x, "y": y, "z": z}
    changes = {
        "sample.negative": negative,
        "sample.guidance": guidance,
        "sample.sampler": sampler,
        "sample.steps": steps,
        "sample.size": size,
        "score.judge": judge,
        "score.like": like,
    }
    from kaiffin.stories import grid

    grid.run(
        source,
        prompt,
        {letter: text for letter, text in axes.items() if text is not None},
        seed=seed,
        count=count,
        changes={k: v for k, v in changes.items() if v is not None} | ctx.obj,
        batch_size=batch_size,
        out=out,
        yes=yes,
    )


@app.command()
def compare(
    ctx: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or a sweep's folder.")],
    judge: Judge = None,
    like: HeldOut = None,
    prompts: Prompts = None,
    seeds: Seeds = None,
    last: Annotated[
        bool, typer.Option("--last", help="The last adapter of each, not the one chosen.")
    ] = False,
    batch_size: BatchSize = 8,
    out: Annotated[Path, typer.Option("--out", help="Folder that is written.")] = Path(
        "comparison"
    ),
) -> None:
    """What differs between runs, and whether it shows: scores in pairs, with a verdict on each."""
    changes = _scored(ctx, judge, like, prompts, seeds)
    from kaiffin.stories import compare

    compare.compare(runs, out, changes=changes, last=last, batch_size=batch_size)


@app.command()
def sweep(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="A sweep file; see examples/cheburashka-sweep.yaml.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default: sweeps/<name>.")
    ] = None,
    judge: Judge = None,
    yes: Annotated[bool, typer.Option("--yes", help="However many trainings these are.")] = False,
    on: Annotated[
        str,
        typer.Option(help="local, processes:2, gpus, gpus:0,1, ray, ray:2 or ray://HOST:10001."),
    ] = "local",
) -> None:
    """Train with some settings changed at a time, on equal seeds; skips what is finished."""
    from kaiffin.stories import sweep

    folder = out or Path("sweeps") / file_name(file.stem, "sweep", keep=" .,=+")
    if not sweep.run(file, folder, ctx.obj, judge=judge, yes=yes, on=on):
        raise typer.Exit(1)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or the folder of a sweep.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="HTML file; default: report.html in the run, or here for many."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """One page of a run, or of many side by side: pictures, scores, loss, recipe; no network."""
    from kaiffin.stories.report import report as written

    path = written(runs, out)
    typer.echo(f"open {path}")
    if show:
        typer.launch(str(path))


def _scored(
    ctx: typer.Context, judge: str | None, like: Path | None, prompts: Path | None,
    seeds: int | None,
) -> dict[str, Any]:  # fmt: skip
    """The changes to a run's `score` and `sample` that the flags ask for."""
    changes = {
        "score.judge": judge, "score.like": like, "score.prompts": prompts, "score.seeds": seeds,
    }  # fmt: skip
    return {name: value for name, value in changes.items() if value is not None} | ctx.obj


def _duration(text: str | None) -> float | None:
    """`90s`, `5min`, `2h` or plain seconds, in seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|h)?", text.strip().lower())
    if not found or not float(found[1]):
        raise ConfigError(f"--budget {text!r} is not a time.", "Write 90s, 5min or 2h.")
    return float(found[1]) * {"min": 60, "h": 3600}.get(found[2], 1)
