"""Which files of a repository are needed, and no more. Names in, names out. Torch-free.

As diffusers picks them (its rules, met in the wild): a folder for each component; in it the weights
with a plain name or their half-precision twin with `.fp16` in it, in one file or in shards with an
index. Never taken: checkpoints beside the folders, non-EMA twins, pickles, ONNX, Flax, OpenVINO,
safety checkers, and folders that no family has.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from kaiffin.models.families.spec import SPECS, TEXT, tokenizer_of

INDEX = "model_index.json"
HALF = ".fp16"

_WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|model)(?P<new>\.fp16)?"
    r"(?:-(?P<number>\d{5})-of-(?P<of>\d{5}))?(?P<old>\.fp16)?\.safetensors"
)
_READABLE = (".json", ".txt", ".model")  # configurations and vocabularies


@dataclass(frozen=True)
class Plan:
    """What is needed of a repository, by its names there.

    configs: small files; weights: large ones; lacking: component folders of which no whole set of
    safetensors weights, or nothing to read, is there; file: the checkpoint, where it is one file.
    """

    configs: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    file: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        return self.configs + self.weights


def of_pipeline(
    names: Collection[str], half: bool | None, here: Collection[str] = (),
    parts: Iterable[str] = (),
) -> Plan:  # fmt: skip
    """The files of a pipeline with component folders.

    half: whether the weights are wanted in half precision; None: configurations alone. here: names
    that need not be fetched. parts: components that there must be, though none of them is listed.
    """
    weighted, read = components()
    there = {PurePosixPath(name).parts[0] for name in names if "/" in name} | set(parts)
    configs = [INDEX] * (INDEX in names)
    weights: list[str] = []
    lacking: list[str] = []
    for folder in (part for part in (*weighted, *read) if part in there):
        own = _own(names, folder, part_of_pipeline=folder in weighted)
        configs += own
        found = best(names, folder, half, here) if folder in weighted and half is not None else ()
        weights += found or ()
        if not own or found is None:
            lacking.append(folder)
    return Plan(tuple(configs), tuple(weights), tuple(lacking))


def of_model(
    names: Collection[str], folder: str = "", half: bool = False, here: Collection[str] = ()
) -> Plan:
    """One model with its configuration: a judge, a VAE, a component.

    folder: where in the repository it lies, "" for the top; half, here: see `of_pipeline`.
    """
    weights = best(names, folder, half, here)
    lacking = () if weights else (folder or "its folder",)
    return Plan(tuple(_own(names, folder, part_of_pipeline=False)), weights or (), lacking)


def of_file(name: str) -> Plan:
    """One checkpoint file."""
    return Plan(weights=(name,), file=name)


def checkpoints(names: Iterable[str]) -> list[str]:
    """The safetensors files that lie at the top of a repository."""
    return sorted(n for n in names if "/" not in n and n.endswith(".safetensors"))


def components() -> tuple[list[str], list[str]]:
    """The folders of all families: those with weights, and those that are only read."""
    towers = list(dict.fromkeys(tower for spec in SPECS.values() for tower in spec.towers))
    tokenizers = [tokenizer_of(t) for t in towers if t.startswith(TEXT)]
    return [*towers, "vae"], [*tokenizers, "scheduler"]


def best(
    names: Collection[str], folder: str, half: bool | None, here: Collection[str] = ()
) -> tuple[str, ...] | None:
    """The weights of one component with their index; None where there is no whole set.

    For half precision its twin, else the plain files, and whichever of both is here already; for
    full precision the plain files, and the twin only where nothing else is published.
    """
    sets = weight_sets(names, folder)
    ranked = [sets[kind] for kind in ((True, False) if half else (False, True)) if kind in sets]
    allowed = ranked if half else ranked[:1]
    return next((one for one in allowed if set(one) <= set(here)), next(iter(ranked), None))


def weight_sets(names: Collection[str], folder: str) -> dict[bool, tuple[str, ...]]:
    """The whole sets of weights in a folder: whether they are a half-precision twin, and the files.

    One file is preferred to shards. A set of shards is whole with all of them and their index.
    """
    prefix = f"{folder}/" if folder else ""
    groups: dict[tuple[str, bool, int, bool], list[str]] = defaultdict(list)
    for name in names:
        match = _WEIGHTS.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if match:
            half = bool(match["new"] or match["old"])
            groups[match["stem"], half, int(match["of"] or 0), bool(match["old"])].append(name)
    found: dict[bool, tuple[str, ...]] = {}
    for (stem, half, count, _), files in sorted(groups.items()):
        index = next((n for n in indices(f"{prefix}{stem}", half) if n in names), None)
        if not count:
            found.setdefault(half, tuple(files))
        elif len(files) == count and index:
            found.setdefault(half, (*sorted(files), index))
    return found


def indices(stem: str, half: bool) -> list[str]:
    """How the index of shards may be spelled."""
    if not half:
        return [f"{stem}.safetensors.index.json"]
    return [f"{stem}.safetensors.index{HALF}.json", f"{stem}.safetensors{HALF}.index.json"]


def _own(names: Iterable[str], folder: str, *, part_of_pipeline: bool) -> list[str]:
    """What is to be read in a folder; of a pipeline's part that has weights, its configuration."""
    prefix = f"{folder}/" if folder else ""
    inside = [n for n in names if n.startswith(prefix) and "/" not in n.removeprefix(prefix)]
    if part_of_pipeline:
        return [n for n in inside if n == f"{prefix}config.json"]
    return sorted(n for n in inside if n.endswith(_READABLE) and ".index." not in n and n != INDEX)
