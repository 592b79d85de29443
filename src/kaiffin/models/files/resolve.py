"""From what the user calls a base to files here, or one error that says what to put where.

Looked up in this order: the miniatures inside the package; a path; an alias or hub id in the
Hugging Face cache; the hub itself, where there is a network. Only safetensors are ever read.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kaiffin.foundation.errors import MissingWeightsError, nearest
from kaiffin.foundation.paths import expanded
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files.embedded import EMBEDDED

ALIASES = {
    "sd14": "CompVis/stable-diffusion-v1-4",
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "realistic-vision-5.1": "SG161222/Realistic_Vision_V5.1_noVAE",  # wants a VAE: see base.vae
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
TOKENIZER_REPOS = ("openai/clip-vit-large-patch14", *ALIASES.values())
PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}
WANTED = ["*.json", "*.txt", "*.safetensors"]
CONFIGS = Path(__file__).parents[1] / "configs"  # of the published models
HEADER_LIMIT = 100_000_000  # bytes; the largest real checkpoints have headers of about 1 MB


@dataclass(frozen=True)
class Located:
    """Files of a base: a diffusers folder or one checkpoint file, and its family's name."""

    kind: Literal["folder", "file"]
    path: Path
    family: str

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
    path = expanded(name)
    if path.is_dir():
        return _folder(path)
    if path.is_file() or path.suffix in PICKLES | {".safetensors"}:
        return _file(path)
    repo = ALIASES.get(name, name)
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        raise MissingWeightsError(
            f"base {name!r} is no folder, no file and no known name.",
            nearest(name, [*EMBEDDED, *ALIASES]),
        )
    return _folder(snapshot(repo, name))


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


def _folder(path: Path) -> Located:
    index = path / "model_index.json"
    try:
        kind = json.loads(index.read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise MissingWeightsError(
            f"{path}: holds no diffusers pipeline (no readable model_index.json).",
            "Pass the folder that holds model_index.json, unet/, vae/ and so on.",
        ) from None
    fitting = [spec for spec in SPECS.values() if re.match(_of_pipeline(spec.pipeline), kind)]
    if not fitting:
        raise MissingWeightsError(f"{path}: is a {kind}.", _readable())
    closest = max(fitting, key=lambda spec: len(spec.pipeline))
    return Located("folder", path, closest.name)


def _of_pipeline(name: str) -> str:
    """A pattern of a pipeline's relatives: StableDiffusionImg2ImgPipeline is one of
    StableDiffusionPipeline, StableDiffusion3Pipeline is not."""
    return re.escape(name.removesuffix("Pipeline")) + r"(?!\d)"


def _readable() -> str:
    return f"Kaiffin reads bases of {' and '.join(spec.title for spec in SPECS.values())}."


def _file(path: Path) -> Located:
    if path.suffix in PICKLES:
        raise MissingWeightsError(
            f"{path}: {path.suffix} files are pickles, which can run code when opened.",
            "Use the .safetensors version of this checkpoint.",
        )
    shapes = header(path)
    first = shapes.get("model.diffusion_model.input_blocks.0.0.weight")
    if first is None:
        raise MissingWeightsError(
            f"{path}: holds no Stable Diffusion checkpoint (no model.diffusion_model weights).",
            "A LoRA file goes to --adapter; a base is a full checkpoint or a diffusers folder.",
        )
    if first[1] != 4:
        raise MissingWeightsError(
            f"{path}: its UNet takes {first[1]} channels: an inpainting or editing model.",
            "Use the plain text-to-image checkpoint.",
        )
    for spec in (spec for spec in SPECS.values() if spec.checkpoint):
        if any(name.startswith(spec.checkpoint) for name in shapes):
            return Located("file", path, spec.name)
    raise MissingWeightsError(f"{path}: its text encoder is of another kind.", _readable())


def header(path: Path) -> dict[str, list[int]]:
    """Tensor names and shapes of a safetensors file, from its header alone."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(HEADER_LIMIT, path.stat().st_size):
                raise ValueError("header longer than the file")
            entries = json.loads(file.read(length))
        return {n: entry["shape"] for n, entry in entries.items() if n != "__metadata__"}
    except FileNotFoundError:
        raise MissingWeightsError(f"{path}: there is no such file.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise MissingWeightsError(
            f"{path}: is not a readable safetensors file ({error}).", "Copy or download it again."
        ) from None


def tokenizer_folder(checkpoint: Path) -> Path:
    """vocab.json and merges.txt for a single-file checkpoint, which carries none."""
    from huggingface_hub import try_to_load_from_cache

    beside = checkpoint.parent / "tokenizer"
    if (beside / "vocab.json").is_file() and (beside / "merges.txt").is_file():
        return beside
    for repo in TOKENIZER_REPOS:
        for prefix in ("", "tokenizer/"):
            found = [
                try_to_load_from_cache(repo, prefix + name) for name in ("vocab.json", "merges.txt")
            ]
            if all(isinstance(file, str) for file in found):
                return Path(str(found[0])).parent
    raise MissingWeightsError(
        f"{checkpoint}: a single-file checkpoint has no tokenizer, and none is on this machine.",
        f"Put CLIP's vocab.json and merges.txt (from openai/clip-vit-large-patch14) into {beside}.",
    )
