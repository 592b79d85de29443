"""Adapters by the names that prompts call them, as in `<lora:NAME:0.8>`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kaiffin.adapters import strength
from kaiffin.foundation.errors import AdapterError, nearest
from kaiffin.foundation.folder import file_sha256
from kaiffin.foundation.prompts import Tag
from kaiffin.foundation.run import Run
from kaiffin.pictures.make import WeightedAdapter

RUNS = Path("runs")


def adapters_of(tags: Iterable[Tag], folders: Sequence[Path]) -> tuple[WeightedAdapter, ...]:
    """The files that `tags` mean: finished runs in the working folder's runs/, and .safetensors
    files anywhere in `folders`, by name without ending. A name is compared, never used as a path.

    Raises AdapterError for a name that nothing or that two different files have.
    """
    wanted = list(tags)
    known = _known(folders) if wanted else {}
    return tuple(WeightedAdapter(_one(tag.name, known), _weights(tag)) for tag in wanted)


def _known(folders: Sequence[Path]) -> dict[str, list[Path]]:
    runs = [Run.open(path) for path in sorted(RUNS.glob("*")) if Run.is_at(path)]
    files = [(run.path.name, run.adapter_path) for run in runs if run.finished]
    for folder in folders:
        if not folder.is_dir():
            raise AdapterError(f"{folder}: is no folder of adapters.", "See --adapters.")
        files += [(path.stem, path) for path in sorted(folder.rglob("*.safetensors"))]
    known: dict[str, list[Path]] = {}
    for name, path in files:
        known.setdefault(name, []).append(path)
    return known


def _one(name: str, known: dict[str, list[Path]]) -> Path:
    wanted = name.removesuffix(".safetensors")
    if wanted not in known:
        raise AdapterError(
            f"<lora:{name}>: no adapter is called so.",
            nearest(wanted, known, "Name the folder of your adapters with --adapters."),
        )
    found = known[wanted]
    if len(found) > 1 and len({file_sha256(path) for path in found}) > 1:
        there = ", ".join(map(str, found))
        raise AdapterError(f"<lora:{name}>: several are called so: {there}.", "Rename all but one.")
    return found[0]


def _weights(tag: Tag) -> strength.Weights:
    if tag.text == tag.unet:
        return strength.parse(f"{tag.unet:g}")
    return strength.parse(f"unet={tag.unet:g},text={tag.text:g}")
