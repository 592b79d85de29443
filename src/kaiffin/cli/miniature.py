"""`kaiffin miniature ...`: the embedded base model."""

from __future__ import annotations

import click


def _build(ctx: click.Context) -> None:
    from kaiffin.miniature.build import build

    build.main(ctx.args)


# Its flags are the fields of `BuildConfig`, some of which take any number of values
# (`--unet-channels 96 160`): it reads them, and explains them, by itself.
BUILD = click.Command(
    "build",
    callback=click.pass_context(_build),
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
    help="Train the embedded base from scratch: render, CLIP, VAE, UNet; resumes by itself.",
)
