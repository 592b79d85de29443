"""A VAE in the place of the base's own: a file of it opened, and another base's refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files import header
from kaiffin.models.files.faults import BROKEN, refuse_missing, unloadable
from kaiffin.models.files.header import AGAIN
from kaiffin.models.files.recognise import VAE

# What a configuration that does not say so means: SD 1.x, whose older copies say neither.
DEFAULTS = {"latent_channels": 4, "scaling_factor": 0.18215}
FIRST = "decoder.conv_in.weight"


def from_file(path: Path, configs: Path) -> Any:
    """A VAE file, or the VAE of a whole checkpoint, of the shape in `configs`, which is the folder
    with the configuration of the one it replaces. Raises MissingWeightsError."""
    from diffusers import AutoencoderKL

    if path.suffix != ".safetensors":
        raise MissingWeightsError(f"base.vae = {str(path)!r}: only .safetensors files are opened.")
    found = header.read(path)
    starts = ("", *VAE)
    shape = next((found.shapes[s + FIRST] for s in starts if s + FIRST in found.shapes), None)
    if shape is None:
        raise MissingWeightsError(f"{path}: is no VAE (no {FIRST}).", "Give base.vae a VAE.")
    _compare(path, {"latent_channels": shape[1]}, {**_config(configs), "scaling_factor": None})
    try:
        vae = AutoencoderKL.from_single_file(str(path), config=str(configs), local_files_only=True)
    except BROKEN as error:
        raise unloadable(path, error) from None
    refuse_missing([name for name, p in vae.named_parameters() if p.is_meta], path)
    return vae


def refuse_other(folder: Path, configs: Path) -> None:
    """MissingWeightsError where the VAE in `folder` has other latents than that of `configs`."""
    _compare(folder, _config(folder), _config(configs))


def _compare(path: Path, given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """By the facts of both that are known: None is one that nobody can tell."""
    for name, default in DEFAULTS.items():
        one, other = given.get(name, default), own.get(name, default)
        if name in own and other is None:
            continue
        if one != other:
            raise MissingWeightsError(
                f"{path}: is the VAE of another kind of base ({name} {one}, this base's is"
                f" {other}).",
                "Give base.vae one of this base's family, or leave it out.",
            )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise MissingWeightsError(
            f"{folder}: is no VAE (no config.json).", "Give base.vae a VAE."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise MissingWeightsError(f"{path}: cannot be read: {error}.", AGAIN) from None
