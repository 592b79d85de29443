"""From what the user calls a base to files here, or one error that says what to put where.

Looked up in this order: the miniatures inside the package; a path; an alias or hub id in the
Hugging Face cache; the hub itself, where there is a network. Only safetensors are ever read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kaiffin.foundation.errors import MissingWeightsError, nearest
from kaiffin.models.files import recognise
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.header import PICKLES

ALIASES = {
    "sd14": "CompVis/stable-diffusion-v1-4",
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "realistic-vision-5.1": "SG161222/Realistic_Vision_V5.1_noVAE",  # wants a VAE: see base.vae
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
WANTED = ["*.json", "*.txt", "*.safetensors"]
CONFIGS = Path(__file__).parents[1] / "configs"  # of the published models


@dataclass(frozen=True)
class Located:
    """Files of a base: a diffusers folder or one checkpoint file, and its family's name.

    schedule, remarks: see `recognise.Found`.
    """

    kind: Literal["folder", "file"]
    path: Path
    family: str
    schedule: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def configs(self) -> Path:
        """Folder with the components' configurations.

        A checkpoint file carries none: those of the published models stand for it, unless a folder
        `<file name without suffix>.config` lies beside the file.
        """
        if self.kind == "folder":
            return self.path
        own = self.path.with_suffix(".config")
        return own if own.is_dir() else CONFIGS / self.family


def locate(name: str) -> Located:
    """Finds base `name`; raises `MissingWeightsError` naming what to put where."""
    if name in EMBEDDED:
        return _folder(EMBEDDED[name])
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.is_file() or path.suffix in PICKLES | {".safetensors", ".gguf"}:
        return _file(path)
    repo = ALIASES.get(name, name)
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        raise MissingWeightsError(
            f"base {name!r} is no folder, no file and no known name.",
            nearest(name, [*EMBEDDED, *ALIASES]),
        )
    return _folder(snapshot(repo, name), repo)


def is_here(name: str) -> bool:
    """Whether base `name` can be loaded without a network."""
    from huggingface_hub import try_to_load_from_cache

    if name in EMBEDDED:
        return True
    found = try_to_load_from_cache(ALIASES.get(name, name), "model_index.json")
    return isinstance(found, str)


def snapshot(repo: str, name: str) -> Path:
    """The cached or downloaded folder of a hub repository."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, local_files_only=True, allow_patterns=WANTED))
    except (LocalEntryNotFoundError, OSError, ValueError):
        pass
    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        try:
            return Path(snapshot_download(repo, allow_patterns=WANTED, etag_timeout=5))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            reason = type(error).__name__
    raise MissingWeightsError(
        f"base {name!r} ({repo}) is not on this machine and cannot be downloaded ({reason}).",
        "Copy its diffusers folder (model_index.json, unet/, vae/, text_encoder/, tokenizer/,"
        f" scheduler/, with .safetensors weights) here and pass the folder as --base, or run"
        f" `hf download {repo}` where there is a network and copy the cache.",
    )


def _folder(path: Path, called: str = "") -> Located:
    found = recognise.of_folder(path, called)
    return Located("folder", path, found.family, found.schedule, found.remarks)


def _file(path: Path) -> Located:
    found = recognise.of_file(path)
    return Located("file", path, found.family, found.schedule, found.remarks)
