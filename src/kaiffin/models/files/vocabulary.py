"""CLIP's vocabulary, which SD 1.x and SDXL share: found on this machine, or 1.5 MB from the hub.

A single checkpoint file carries none. Wherever it is found, it is proven to be the published one by
the hash of its content; copies differ in line ends and order. Torch-free.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import Tell
from kaiffin.models.files import kept, obtain, shelf
from kaiffin.models.files.published import Source

REPO = "openai/clip-vit-large-patch14"
FILES = ("vocab.json", "merges.txt")
VERSION = "#version: 0.2"
# SHA-256 of both files as they lie in the repositories of SD 1.5 and SDXL.
PUBLISHED = (
    "e089ad92ba36837a0d31433e555c8f45fe601ab5c221d4f607ded32d9f7a4349",
    "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
)
COMFYUI = Path("comfy") / "sd1_tokenizer"  # in ComfyUI's folder, which holds models/checkpoints
PACKAGES = ("open_clip", "clip")  # carry OpenAI's own list of merges
MERGES = "bpe_simple_vocab_16e6.txt.gz"
NUM_MERGES = 48_894  # of those in the list, as OpenAI's tokenizer takes them
SPECIAL = ("<|startoftext|>", "<|endoftext|>")


@dataclass(frozen=True)
class Vocabulary:
    """What the two files say, whatever their spelling. ids: of each piece; merges: in order."""

    ids: dict[str, int]
    merges: tuple[str, ...]

    def files(self) -> tuple[bytes, bytes]:
        """vocab.json and merges.txt, byte for byte as they were published."""
        vocab = json.dumps(self.ids, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        return vocab.encode(), "\n".join((VERSION, *self.merges, "")).encode()

    def write(self, folder: Path) -> None:
        """Both files, for transformers."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in zip(FILES, self.files(), strict=True):
            (folder / name).write_bytes(data)

    @property
    def is_clips(self) -> bool:
        """Whether it is the published one."""
        return tuple(hashlib.sha256(data).hexdigest() for data in self.files()) == PUBLISHED


def for_checkpoint(checkpoint: Path, tell: Tell) -> Vocabulary:
    """CLIP's vocabulary for a checkpoint file.

    From `tokenizer` beside the file, which must hold it; else from any repository in the hub's
    cache, a base that the user named, a diffusers folder beside the file, the ComfyUI around it, or
    an installed package that carries it; else from the hub. Raises MissingWeightsError with what to
    put where.
    """
    beside = checkpoint.parent / "tokenizer"
    if all((beside / name).is_file() for name in FILES):
        return _required(beside)
    for folder in _folders(checkpoint):
        if (found := read(folder)) and found.is_clips:
            return found
    for file in _lists():
        if (found := of_merges(file)) and found.is_clips:
            return found
    return _required(_download(checkpoint, beside, tell))


@contextlib.contextmanager
def tokenizer_folder(configs: Path, checkpoint: Path, tell: Tell) -> Iterator[Path]:
    """A tokenizer's folder with its vocabulary: `configs` itself, or a copy that CLIP's is put
    into, which lasts as long as the context. A base in a folder has its own."""
    if (configs / FILES[0]).is_file() or checkpoint.is_dir():
        yield configs
        return
    with tempfile.TemporaryDirectory() as scratch:
        if configs.is_dir():
            shutil.copytree(configs, scratch, dirs_exist_ok=True)
        for_checkpoint(checkpoint, tell).write(Path(scratch))
        yield Path(scratch)


def read(folder: Path) -> Vocabulary | None:
    """The vocabulary in a tokenizer's folder; None where there is none that can be read."""
    try:
        ids = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
        lines = (folder / FILES[1]).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    if not isinstance(ids, dict) or not lines or not lines[0].startswith("#"):
        return None
    return Vocabulary(ids, tuple(lines[1:]))


def of_merges(file: Path) -> Vocabulary | None:
    """The vocabulary by OpenAI's list of merges, as their tokenizer builds it: the 256 bytes'
    symbols, the same at the end of a word, the merges joined, the specials (Radford et al. 2021).
    """
    try:
        lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, ValueError):
        return None
    merges = tuple(lines[1 : NUM_MERGES + 1])
    symbols = _byte_symbols()
    joined = ("".join(merge.split()) for merge in merges)
    pieces = [*symbols, *(symbol + "</w>" for symbol in symbols), *joined, *SPECIAL]
    return Vocabulary({piece: i for i, piece in enumerate(pieces)}, merges)


def _byte_symbols() -> list[str]:
    """Printable stand-ins of all bytes: those that print stand for themselves and come first."""
    printing = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = 256 - len(printing)
    return [chr(byte) for byte in printing] + [chr(256 + i) for i in range(rest)]


def _required(folder: Path) -> Vocabulary:
    found = read(folder)
    if found is None or not found.is_clips:
        raise MissingWeightsError(
            f"{folder}: holds another vocabulary than CLIP's, which SD 1.x and SDXL read.",
            f"Put vocab.json and merges.txt of {REPO} there, or take the folder away.",
        )
    return found


def _folders(checkpoint: Path) -> Iterator[Path]:
    """Where a tokenizer may lie: only a look at the content tells whose it is."""
    for one in kept.repositories():
        yield one.folder / "tokenizer"
        if "clip" in one.repo.lower():
            yield one.folder
    for named in shelf.names().values():
        yield (named.parent if named.is_file() else named) / "tokenizer"
    yield from sorted(checkpoint.parent.glob("*/tokenizer"))
    yield from (above / COMFYUI for above in checkpoint.resolve().parents)


def _lists() -> Iterator[Path]:
    """OpenAI's list in installed packages, which are not imported."""
    for package in PACKAGES:
        if (spec := importlib.util.find_spec(package)) and spec.origin:
            yield Path(spec.origin).parent / MERGES


def _download(checkpoint: Path, beside: Path, tell: Tell) -> Path:
    try:
        return obtain.small(Source(REPO, REPO), FILES, tell=tell)
    except MissingWeightsError as error:
        raise MissingWeightsError(
            f"{checkpoint}: a single-file checkpoint has no tokenizer, none is on this machine, and"
            f" it cannot be downloaded: {error.message}",
            f"Put CLIP's vocab.json and merges.txt (1.5 MB, from {REPO}) into {beside}; or"
            " `pip install --no-deps open_clip_torch`, which carries them.",
        ) from None
