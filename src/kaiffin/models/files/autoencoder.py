"""A VAE in the place of the base's own: a file of it opened, and another base's refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.hashes import kept_sha256
from kaiffin.foundation.tell import Tell
from kaiffin.models.families.spec import SPECS, of_version
from kaiffin.models.files import header
from kaiffin.models.files.faults import BROKEN, refuse_missing, unloadable
from kaiffin.models.files.header import AGAIN, Header
from kaiffin.models.files.recognise import CONTEXTS, VAE, heard_width
from kaiffin.models.files.resolve import Located

# The published files, by their SHA-256. Their weights have the same names and shapes in all
# families: without a configuration nothing else tells them apart.
PUBLISHED = {
    # stabilityai/sd-vae-ft-mse-original, sd-vae-ft-mse, and the VAE of SD 1.5
    "735e4c3a447a3255760d7f86845f09f937809baa529c17370d83e4c3758f3c75": "sd1",
    "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815": "sd1",
    "a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c": "sd1",
    # stabilityai/sdxl-vae in both layouts and in half precision; madebyollin/sdxl-vae-fp16-fix
    "63aeecb90ff7bc1c115395962d3e803571385b61938377bc7089b36e81e92e2e": "sdxl",
    "1598f3d24932bcfe6634e8b618ea1e30ab1d57f5aad13a6d2de446d2199f2341": "sdxl",
    "bcb60880a46b63dea58e9bc591abe15f8350bde47b405f9c38f4be70c6161e68": "sdxl",
    "235745af8d86bf4a4c1b5b4f529868b37019a10f7c0b2e79ad0abca3a22bc6e1": "sdxl",
    "1b909373b28f2137098b0fd9dbc6f97f8410854f31f84ddc9fa04b077b0ace2c": "sdxl",
}
# Whose latents a checkpoint's UNet hears, by the width of its text states: SD 2.x has the VAE of
# SD 1.x, and the refiner that of SDXL.
HEARD = {**CONTEXTS, 1024: "sd1", 1280: "sdxl"}
# What a configuration that does not say so means: SD 1.x, whose older copies say neither.
DEFAULTS = {"latent_channels": 4, "scaling_factor": 0.18215}
FIRST = "decoder.conv_in.weight"


def from_file(path: Path, base: Located, tell: Tell) -> Any:
    """A VAE file, or the VAE of a whole checkpoint, in the shape of the one in `base` that it
    replaces. Raises MissingWeightsError, also for one that is known to be another family's."""
    from diffusers import AutoencoderKL

    configs = base.configs / "vae"
    if path.suffix != ".safetensors":
        raise MissingWeightsError(f"base.vae = {str(path)!r}: only .safetensors files are opened.")
    found = header.read(path)
    starts = ("", *VAE)
    shape = next((found.shapes[s + FIRST] for s in starts if s + FIRST in found.shapes), None)
    if shape is None:
        raise MissingWeightsError(f"{path}: is no VAE (no {FIRST}).", "Give base.vae a VAE.")
    _compare(path, {"latent_channels": shape[1]}, {**_config(configs), "scaling_factor": None})
    _refuse_another_family(path, found, base, tell)
    try:
        vae = AutoencoderKL.from_single_file(str(path), config=str(configs), local_files_only=True)
    except BROKEN as error:
        raise unloadable(path, error) from None
    refuse_missing([name for name, p in vae.named_parameters() if p.is_meta], path)
    return vae


def _refuse_another_family(path: Path, found: Header, base: Located, tell: Tell) -> None:
    """By all that can be known; what cannot is said."""
    beside = path.with_name("config.json")
    if beside.is_file() and _config(path.parent).get("_class_name") == "AutoencoderKL":
        refuse_other(path.parent, base.configs / "vae")
    elif not (family := _family(path, found)):
        tell.note(
            f"note: {path} is taken as a VAE of {SPECS[base.family].title}: nothing in it says"
            " whose it is, and one of another family makes pictures of wrong colours"
        )
    elif family != base.family:
        raise _another(path, SPECS[family].title, SPECS[base.family].title)


def _family(path: Path, found: Header) -> str:
    """By the UNet beside it, by what its maker wrote, by the published files; "" where none of them
    tells."""
    written = of_version(found.metadata.get("modelspec.architecture", ""))
    if family := HEARD.get(heard_width(found.shapes)) or (written.name if written else ""):
        return family
    return PUBLISHED.get(kept_sha256(path), "")


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
            raise _another(path, f"{name} {one}", str(other))


def _another(path: Path, one: str, own: str) -> MissingWeightsError:
    return MissingWeightsError(
        f"{path}: is the VAE of another kind of base ({one}, this base's is {own}).",
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
