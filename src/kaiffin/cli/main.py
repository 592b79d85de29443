"""The command line: flags -> config -> one recipe. `--help` never loads torch.

A `UserError` becomes one line on stderr and its exit code; anything else is a bug and keeps its
traceback. Every field of the config can be given as `--section.field VALUE`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaiffin.cli import adapters, experiments
from kaiffin.foundation.errors import ConfigError, UserError

if TYPE_CHECKING:
    from kaiffin.foundation.config import Config


# typer carries its own copy of click; its errors are reached through the one that it exports.
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    help="Teach Stable Diffusion one character from a few photos, and prove the pictures right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
miniature_app = typer.Typer(help="The embedded base model.", no_args_is_help=True)
app.add_typer(miniature_app, name="miniature")
app.add_typer(adapters.app, name="adapter")
app.add_typer(experiments.app)

Subject = Annotated[str | None, typer.Option("--subject", help="The word that means the subject.")]
Noun = Annotated[str | None, typer.Option("--class", help="Class noun, such as puffin or toy.")]
Base = Annotated[str | None, typer.Option("--base", help="Base model; see `kaiffin bases`.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder that is written.")]
Resolution = Annotated[int | None, typer.Option("--resolution", help="Pixels of the square side.")]
Judge = Annotated[str, typer.Option("--judge", help="A folder with a CLIP model, or miniature.")]
Like = Annotated[Path | None, typer.Option("--like", help="Folder with photos of the subject.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out unreadable photos, recording each.")
]


@app.command()
def prepare(
    ctx: typer.Context,
    photos: Annotated[Path, typer.Argument(help="Folder with photos.")],
    subject: Subject = None,
    noun: Noun = None,
    base: Base = None,
    resolution: Resolution = None,
    out: Out = None,
    skip_bad: SkipBad = False,
) -> None:
    """Look at the photos first: refusals, findings, crops, captions, a contact sheet."""
    config = _config(
        ctx,
        {"data.photos": photos, "data.skip_bad": skip_bad or None, "data.resolution": resolution}
        | _identity(subject, noun, base),
    )
    from kaiffin.cli.show import photos as show
    from kaiffin.cli.terminal import TERMINAL
    from kaiffin.data.findings import refuse_problems
    from kaiffin.stories import prepare

    found = prepare.prepare(config, out, tell=TERMINAL)
    show.photo_set(found)
    refuse_problems(found.prepared)


@app.command()
def train(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="A config.yaml, or a folder with photos.")],
    subject: Subject = None,
    noun: Noun = None,
    base: Base = None,
    resolution: Resolution = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    out: Out = None,
    skip_bad: SkipBad = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Teach a base the subject in the photos; the result is a run folder with the adapter."""
    is_config = source.suffix.lower() in {".yaml", ".yml"} or source.is_file()
    config = _config(
        ctx,
        {
            "data.photos": None if is_config else source,
            "data.skip_bad": skip_bad or None,
            "data.resolution": resolution,
            "train.steps": steps,
            "train.seed": seed,
        }
        | _identity(subject, noun, base),
        source if is_config else None,
    )
    from kaiffin.cli.show import training as show
    from kaiffin.cli.terminal import TERMINAL
    from kaiffin.stories import plan, train

    if dry_run:
        show.planned(plan.plan(config, tell=TERMINAL))
    else:
        show.trained(train.train(config, out, tell=TERMINAL))


@app.command()
def resume(run: Annotated[Path, typer.Argument(help="The run folder.")]) -> None:
    """Go on with an interrupted training; ends in the same file as if it had never stopped."""
    from kaiffin.cli.show import training as show
    from kaiffin.cli.terminal import TERMINAL
    from kaiffin.stories import train

    show.trained(train.resume(run, tell=TERMINAL))


@app.command()
def generate(
    ctx: typer.Context,
    source: Annotated[
        str | None, typer.Argument(help="A run folder, or a base such as miniature.")
    ] = None,
    prompt: Annotated[str | None, typer.Argument(help="What to show.")] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="Text file, one prompt a line.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, help="Pictures per prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the first picture; the next are +1.")] = 0,
    negative: Annotated[str | None, typer.Option(help="What not to show.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 5 by default.")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="ddpm, ddim, euler, dpm++2m or dpm++2m-sde.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="FILE or FILE:WEIGHTS, such as 0.8, unet=0.8,text=0.4 or 1..0.3; repeatable.",
        ),
    ] = None,
    blend: Annotated[
        str | None,
        typer.Option(
            help="Mix two phases or adapters: w takes (1-w) and w of them; 0,0.5,1 is a grid."
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Of a run: best, which `kaiffin choose` found, or a candidate's step."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures computed together.")] = 4,
    best: Annotated[
        int | None, typer.Option("--best", min=1, help="Choose so many per prompt, by score.")
    ] = None,
    judge: Judge = "miniature",
    like: Like = None,
    out: Out = None,
    recipe_of: Annotated[
        Path | None, typer.Option("--from", help="Make this picture of Kaiffin's again.")
    ] = None,
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Write no prompt or recipe into the files.")
    ] = False,
) -> None:
    """Make pictures, with the recipe of each inside its PNG, and a labelled sheet."""
    from kaiffin.pictures import request
    from kaiffin.stories import generate

    if recipe_of is not None:
        if source or prompt or prompts:
            raise ConfigError("--from remakes one picture and takes no prompt.", "Drop one.")
        generate.remake(recipe_of, out or Path("images"), metadata=not no_metadata)
        return
    if source is None:
        raise ConfigError("nothing to generate with.", "Name a run folder or a base.")
    changes = {
        "sample.negative": negative,
        "sample.guidance": guidance,
        "sample.sampler": sampler,
        "sample.steps": steps,
        "sample.size": size,
    }
    if best is not None and best > count:
        raise ConfigError(f"--best {best} of -n {count} pictures.", "Make more, or choose fewer.")
    blends = _numbers("--blend", blend)
    if best is not None and len(blends) > 1:
        raise ConfigError("--best chooses among one blend.", "Give --blend one number.")
    texts = request.read_prompts(prompt, prompts)
    made = generate.generate(
        source,
        texts,
        count=count,
        seed=seed,
        changes={k: v for k, v in changes.items() if v is not None} | ctx.obj,
        adapters=adapter or [],
        blends=blends,
        batch_size=batch_size,
        out=out,
        metadata=not no_metadata,
        checkpoint=checkpoint,
    )
    if best is not None:
        from kaiffin.stories import rank

        rank.best_of(source, texts, made, best, judge, like)


@app.command()
def rank(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    prompt: Annotated[str, typer.Option("--prompt", help="What they should show, in plain words.")],
    like: Like = None,
    judge: Judge = "miniature",
    best: Annotated[int | None, typer.Option("--best", min=1, help="Choose so many.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Sheet (PNG) that is written.")] = None,
) -> None:
    """Any pictures in order: the likeness to photos is a gate, then the prompt decides."""
    from kaiffin.score import photos
    from kaiffin.stories import rank

    rank.rank_pictures(
        photos.pictures_in(pictures), prompt, like=like, judge=judge, best=best, out=out
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder that is written.")] = Path("demo"),
    subject: Annotated[str, typer.Option("--subject", help="kaiffin or plush.")] = "kaiffin",
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Training steps; derived when left out.")
    ] = None,
) -> None:
    """From photos to pictures on the embedded base, in about two minutes on a laptop."""
    from kaiffin.stories import demo

    demo.run(out, subject, seed, steps)


@app.command()
def bases() -> None:
    """The base models that Kaiffin knows by name, and whether they are on this machine."""
    from kaiffin.cli.show import photos as show
    from kaiffin.stories import prepare

    show.bases(prepare.bases())


@app.command()
def options() -> None:
    """Every field of the configuration, its default and meaning, as a Markdown table."""
    from kaiffin.foundation.settings import option_table

    typer.echo(option_table())


@miniature_app.command(
    "build",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def miniature_build(ctx: typer.Context) -> None:
    """Train the embedded base from scratch: render, CLIP, VAE, UNet; resumes by itself."""
    from kaiffin.miniature.build import build

    build.main(ctx.args)


JUDGED = ("score.judge", "score.identity_judge", "score.like", "score.prompts", "score.seeds")
# Commands that read a configuration, and the sections or settings that have an effect on them.
SECTIONS = {
    "prepare": ("subject", "base", "data"),
    "train": (
        "subject", "base", "data", "adapter", "embedding", "train", "phases", "sample", "score",
    ),
    "generate": ("base", "sample"),
    "grid": ("base", "sample", "score.judge", "score.like"),
    "choose": ("base", "sample", *JUDGED),
    "compare": ("base", "sample", *JUDGED),
    "sweep": (
        "subject", "base", "data", "adapter", "embedding", "train", "phases", "sample", "score",
    ),
}  # fmt: skip


def refuse_without_effect(command: str, pairs: dict[str, str]) -> None:
    """A setting that a command does not use is an error, not silence."""
    for name in pairs:
        known = SECTIONS.get(command, ())
        if name not in known and name.partition(".")[0] not in known:
            raise ConfigError(f"--{name} has no effect on `kaiffin {command}`.", "Leave it out.")


def split_overrides(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Takes `--a.b VALUE` and `--a.b=VALUE` out of `arguments`, wherever they stand."""
    rest: list[str] = []
    pairs: dict[str, str] = {}
    queue = iter(arguments)
    for argument in queue:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or "." not in name:
            rest.append(argument)
            continue
        taken = value if equals else next(queue, None)
        if taken is None:
            raise ConfigError(f"--{name} has no value.", f"Write --{name} VALUE.")
        pairs[name] = taken
    return rest, pairs


def _identity(subject: str | None, noun: str | None, base: str | None) -> dict[str, Any]:
    return {"subject.token": subject, "subject.noun": noun, "base.name": base}


def _config(ctx: typer.Context, flags: dict[str, Any], file: Path | None = None) -> Config:
    """The config file, if any, overridden by named flags and `--section.field` pairs."""
    from kaiffin.foundation import settings

    data = settings.read_yaml(file) if file else {}
    given = {name: value for name, value in flags.items() if value is not None}
    merged = settings.override(data, given | ctx.obj)
    return settings.build(merged, str(file) if file else "command line")


def _numbers(flag: str, text: str | None) -> list[float]:
    """`0,0.5,1` as numbers."""
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ConfigError(f"{flag} {text!r} is not a list of numbers.", "Write 0,0.5,1.") from None


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code (2 for whatever the user can mend)."""
    try:
        rest, pairs = split_overrides(sys.argv[1:] if arguments is None else arguments)
        refuse_without_effect(rest[0] if rest else "", pairs)
        code = app(rest, prog_name="kaiffin", standalone_mode=False, obj=pairs)
    except UserError as error:
        print(f"kaiffin: {error}", file=sys.stderr)
        return error.exit_code
    except UsageError as error:
        print(f"kaiffin: {error.format_message()} See `kaiffin --help`.", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("kaiffin: stopped.", file=sys.stderr)
        return 130
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
