"""The adapter commands as story pages: look into a file, change its layout, prove it, edit it.

All but `verify` and `extract` need no base weights: what a file should hold is known from tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kaiffin.adapters import comfy, edit, files, formats, names, tables, writing
from kaiffin.adapters.formats import AdapterFile, Layout
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.proof import Proof, prove
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.weights import PLAIN
from kaiffin.config import BaseConfig
from kaiffin.errors import AdapterError, UserError
from kaiffin.miniature import EMBEDDED
from kaiffin.models import resolve
from kaiffin.models.base import ModelFamily
from kaiffin.models.load import load, save
from kaiffin.readers import opened_by_others
from kaiffin.run import Run
from kaiffin.runtime import Runtime

console = Console(highlight=False, soft_wrap=True, markup=False)
FAMILY_NAMES = {"sd1": "SD 1.x", "sdxl": "SDXL"}


@dataclass(frozen=True)
class Opened:
    """An adapter file with the table that it was read against."""

    file: AdapterFile
    table: Mapping[str, tables.Shape]
    layers_per_block: int


def open_file(path: Path, base: str | None = None) -> Opened:
    """Reads `path` against base `base` (its configurations only), or what the file says it is for.

    Raises AdapterError where the file is missing, broken or a pickle.
    """
    shapes, metadata = _peek(path)
    if base is None and metadata.get("ss_sd_model_name") in EMBEDDED:
        base = metadata["ss_sd_model_name"]
    if base is None:
        family: Any = _guess_family(shapes, metadata)
        table, per_block = tables.published(family), 2
    else:
        located = resolve.locate(base)
        family, folder = located.family, located.configs
        table = tables.layers(folder, family)
        unet = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
        per_block = unet["layers_per_block"]
    found = formats.read(path, table, family, per_block)
    return Opened(found, table, per_block)


def _peek(path: Path) -> tuple[Mapping[str, tables.Shape], dict[str, str]]:
    if not path.is_dir():
        return files.header(path)
    places = [path, *(path / tower for tower in names.TOWERS["sdxl"])]
    for place in places:
        if (place / "adapter_model.safetensors").is_file():
            return files.header(place / "adapter_model.safetensors")
    pickles = sorted(p.name for p in path.iterdir() if p.suffix in files.PICKLES)
    if pickles:
        raise AdapterError(
            f"{path}: holds only {pickles[0]}, a pickle, which can run code when opened.",
            "Get the .safetensors version.",
        )
    raise AdapterError(f"{path}: holds no adapter_model.safetensors.", "Name a PEFT folder.")


def _guess_family(shapes: Mapping[str, tables.Shape], metadata: Mapping[str, str]) -> str:
    """By the header, else by layers that only SDXL has, else by how wide its context is."""
    version = metadata.get("ss_base_model_version", "")
    if version:
        return "sdxl" if version.startswith("sdxl") else "sd1"
    marks = ("lora_te2_", "text_encoder_2.", "transformer_blocks_9_", "transformer_blocks.9.")
    if any(mark in key for key in shapes for mark in marks):
        return "sdxl"
    wide = any(
        "attn2" in key and "to_k" in key and len(shape) == 2 and 2048 in shape
        for key, shape in shapes.items()
    )
    return "sdxl" if wide else "sd1"


# --- inspect ----------------------------------------------------------------------------------


def inspect(path: Path, base: str | None = None) -> bool:
    """Prints what is in the file; whether every key found its home."""
    opened = open_file(path, base)
    file = opened.file
    kinds = ", ".join(f"{count} {kind}" for kind, count in file.kinds().items())
    console.print(f"{path}: {file.layout} layout, {FAMILY_NAMES[file.family]}, {kinds or 'empty'}")
    trigger = file.metadata.get("modelspec.trigger_phrase")
    if trigger:
        console.print(f"trigger: {trigger}")
    console.print(_towers_table(opened))
    console.print(_blocks_table(file))
    for name, value in file.embeddings.items():
        console.print(f"bundled token: {name}, {len(value)} vectors of {value.shape[-1]}")
    _print_metadata(file.metadata)
    wrong = _misfits(opened)
    for line in wrong:
        console.print(f"problem: {line}")
    console.print("Every key has its home." if not wrong else "See the problems above.")
    return not wrong


def _towers_table(opened: Opened) -> Table:
    table = Table("part", "layers", "of the base's", "rank", "alpha", "norm", box=None)
    for tower in names.TOWERS[opened.file.family]:
        mine = [p for n, p in opened.file.modules.items() if n.startswith(f"{tower}.")]
        total = sum(name.startswith(f"{tower}.") for name in opened.table)
        if not mine:
            continue
        ranks = _range(formats.rank_of(parts) for parts in mine)
        alphas = _range(float(parts["alpha"]) for parts in mine)
        table.add_row(tower, str(len(mine)), str(total), ranks, alphas, _norm(mine))
    return table


def _blocks_table(file: AdapterFile) -> Table:
    table = Table("block", "layers", "norm of the update", box=None)
    blocks: dict[str, list[dict[str, torch.Tensor]]] = {}
    for name, parts in file.modules.items():
        blocks.setdefault(edit.block_of(name), []).append(parts)
    for block, parts in blocks.items():
        table.add_row(block, str(len(parts)), _norm(parts))
    return table


def _norm(parts: Sequence[Mapping[str, torch.Tensor]]) -> str:
    """Of all updates together; unknown where they turn the base's weights, which are not here."""
    norm = sum(edit.norm(p) ** 2 for p in parts) ** 0.5
    return "?" if math.isnan(norm) else f"{norm:.3g}"


def _range(values: Any) -> str:
    distinct = sorted(set(values))
    ends = (distinct[0],) if len(distinct) == 1 else (distinct[0], distinct[-1])
    return " to ".join(f"{value:g}" for value in ends)


def _print_metadata(metadata: Mapping[str, str]) -> None:
    """Strings of strangers: cut, on one line, and without control characters."""
    if metadata:
        console.print("metadata:")
    for key, value in sorted(metadata.items()):
        shown = "".join(c if c.isprintable() else " " for c in f"{key}: {value}")
        console.print(f"  {shown[:100]}{' …' if len(shown) > 100 else ''}")


def _misfits(opened: Opened) -> list[str]:
    file, found = opened.file, []
    if file.strays:
        shown = ", ".join(file.strays[:3]) + (" …" if len(file.strays) > 3 else "")
        found.append(
            f"{len(file.strays)} keys have no home in {FAMILY_NAMES[file.family]}: {shown}"
        )
    if file.misspelled:
        found.append(
            f"{len(file.misspelled)} keys of the text encoder lack `text_model`: ComfyUI and A1111"
            " ignore them. `kaiffin adapter convert IN OUT --to kohya` mends the names."
        )
    odd = [name for name, parts in file.modules.items() if not _fits(parts, opened.table[name])]
    if odd:
        parts = file.modules[odd[0]]
        down, up = (tuple(parts[f"lora_{side}.weight"].shape) for side in ("down", "up"))
        found.append(
            f"{len(odd)} layers have other shapes than this base: {odd[0]} is {up} x {down} for a"
            f" weight of {opened.table[odd[0]]}. Name the right one with --base."
        )
    return found


def _fits(parts: Mapping[str, torch.Tensor], shape: tables.Shape) -> bool:
    down, up = parts.get("lora_down.weight"), parts.get("lora_up.weight")
    if down is None or up is None or "lora_mid.weight" in parts:
        return True
    return (up.shape[0], *down.shape[1:]) == tuple(shape)


# --- convert and verify -----------------------------------------------------------------------


def convert(path: Path, out: Path, layout: Layout, base: str | None = None) -> None:
    """Writes the adapter in another layout, exact in weight and strength."""
    _refuse_existing(out)
    opened = open_file(path, base)
    formats.refuse_strays(opened.file)
    writing.write(opened.file, out, layout, opened.layers_per_block)
    console.print(f"{len(opened.file.modules)} layers, {opened.file.layout} -> {layout}: {out}")


def verify(path: Path, base: str) -> Proof:
    """The export proof on base `base`, printed; see `adapters.proof`."""
    config = BaseConfig(name=base)
    made = prove(path, load(config, Runtime.from_config(config)), opened_by_others)
    say_proof(made, console)
    return made


def say_proof(made: Proof, to: Console) -> None:
    """In a line when all is well, else each problem."""
    if made.holds:
        layers = sum(made.layers.values())
        known = f"; {', '.join(made.known)} know all {made.keys} keys" if made.known else ""
        to.print(
            f"proof: an independent reader attaches all {layers} layers and gives the same output"
            f" (difference {made.difference:.1g}, effect {made.effect:.1g}){known}"
        )
    for problem in made.problems:
        to.print(f"proof fails: {problem}")


# --- edit -------------------------------------------------------------------------------------


def merge(
    specs: Sequence[tuple[Path, float]], out: Path, rank: int | None, base: str | None = None
) -> None:
    """The weighted sum of adapters as one file; exact unless cut down to `rank`."""
    _refuse_existing(out)
    opened = [(open_file(path, base), weight) for path, weight in specs]
    for one, _ in opened:
        formats.refuse_strays(one.file)
    made = edit.merge([(one.file, weight) for one, weight in opened])
    if rank:
        made, cuts = edit.resize(made, rank=rank)
        _print_cuts(cuts)
    writing.write(made, out, "kohya", opened[0][0].layers_per_block)
    ranks = _range(formats.rank_of(parts) for parts in made.modules.values())
    console.print(f"{len(made.modules)} layers of rank {ranks}: {out}")


def merge_into(base: str, specs: Sequence[tuple[Path, float]], out: Path) -> None:
    """A copy of `base` in diffusers' layout with the adapters in its weights."""
    _refuse_existing(out)
    family = _on_cpu(base)
    for path, weight in specs:
        stack = load_adapter(path, family, PLAIN.times(weight))
        if stack.tokens:
            raise AdapterError(
                f"{path}: the token {stack.tokens[0].word!r} cannot be merged into a base.",
                "Use the adapter as it is.",
            )
        stack.inject(family)
        stack.adapters[""].merge()
        stack.eject()
    save(family, out)
    console.print(f"{base} with {len(specs)} adapters in its weights: {out}")


def resize(
    path: Path, out: Path, rank: int | None, energy: float | None, base: str | None = None
) -> None:
    """Fewer ranks by SVD, and what each block loses."""
    _refuse_existing(out)
    _refuse_cut(rank, energy)
    opened = open_file(path, base)
    formats.refuse_strays(opened.file)
    made, cuts = edit.resize(opened.file, rank, energy)
    writing.write(made, out, "kohya", opened.layers_per_block)
    _print_cuts(cuts)
    console.print(f"{_size(path)} -> {_size(out)}: {out}")


def extract(tuned: str, base: str, out: Path, rank: int | None, energy: float | None) -> None:
    """The difference of two checkpoints of one architecture, as an adapter."""
    _refuse_existing(out)
    _refuse_cut(rank, energy)
    families = [_on_cpu(name) for name in (tuned, base)]
    if families[0].name != families[1].name:
        raise UserError(f"{tuned} is {families[0].name}, {base} is {families[1].name}.")
    ours, theirs = (full_modules(family) for family in families)
    modules, cuts = {}, {}
    for name in _layers_of_both(ours, theirs):
        weight: Any = ours[name].weight
        other: Any = theirs[name].weight
        delta = weight.detach().float() - other.detach().float()
        if not delta.abs().max() > 0:
            continue
        u, s, vt = torch.linalg.svd(delta.flatten(1), full_matrices=False)
        modules[name], cuts[name] = edit.cut(u, s, vt, rank, energy, (0, *delta.shape[1:]))
    if not modules:
        raise UserError(f"{tuned} and {base} have the same weights in every layer.")
    top = max(cut.rank for cut in cuts.values())
    header = {
        "ss_base_model_version": formats.BASE_VERSIONS[families[1].name], "ss_v2": "False",
        "ss_network_module": "networks.lora", "ss_network_dim": str(top),
        "ss_network_alpha": str(top), "ss_network_args": "{}",
        "ss_sd_model_name": Path(base).name,
    }  # fmt: skip
    made = AdapterFile("kohya", families[1].name, modules, header)
    writing.write(made, out, "kohya", families[1].layers_per_block)
    _print_cuts(cuts)
    console.print(f"{len(modules)} of {len(ours)} layers differ: {out} ({_size(out)})")


def diff(a: Path, b: Path, base: str | None = None) -> None:
    """How two adapters differ, block by block."""
    opened = [open_file(path, base) for path in (a, b)]
    table = Table("block", f"norm of {a.name}", f"norm of {b.name}", "cosine", "|a - b| / |a|",
                  box=None)  # fmt: skip
    for block, found in edit.difference(opened[0].file, opened[1].file).items():
        row = (found.a, found.b, found.cosine, found.distance)
        table.add_row(block, *(f"{value:.3g}" for value in row))
    console.print(table)
    keys = set(opened[0].file.metadata) | set(opened[1].file.metadata)
    for key in sorted(keys):
        values = [one.file.metadata.get(key, "(none)") for one in opened]
        if values[0] != values[1] and not key.startswith("sshs_"):
            console.print(f"  {key}: {values[0][:60]} | {values[1][:60]}")


def _layers_of_both(a: Collection[str], b: Collection[str]) -> list[str]:
    if set(a) != set(b):
        odd = sorted(set(a) ^ set(b))[0]
        raise UserError(f"the checkpoints have different layers, such as {odd}.")
    return [name for name in a if not name.endswith("text_projection")]


def _on_cpu(name: str) -> ModelFamily:
    config = BaseConfig(name=name, device="cpu")
    return load(config, Runtime.from_config(config))


def _print_cuts(cuts: Mapping[str, edit.Cut]) -> None:
    table = Table("block", "layers", "rank", "relative error", box=None)
    blocks: dict[str, list[edit.Cut]] = {}
    for name, cut in cuts.items():
        blocks.setdefault(edit.block_of(name), []).append(cut)
    for block, found in blocks.items():
        whole = edit.Cut(0, sum(c.kept for c in found), sum(c.lost for c in found))
        table.add_row(block, str(len(found)), _range(c.rank for c in found), f"{whole.error:.2%}")
    console.print(table)


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise UserError(f"{out}: is there already.", "Remove it or choose another name.")


def _refuse_cut(rank: int | None, energy: float | None) -> None:
    if (rank is None) == (energy is None):
        raise UserError("give either --rank or --energy.", "Such as --rank 8 or --energy 0.95.")
    if rank is not None and rank < 1:
        raise UserError(f"--rank {rank}: must be at least 1.")
    if energy is not None and not 0 < energy <= 1:
        raise UserError(f"--energy {energy:g}: must be above 0 and at most 1.")


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


# --- ComfyUI ----------------------------------------------------------------------------------


def export_comfy(path: Path, prompt: str | None) -> Path:
    """A workflow beside the adapter of run `path`; returns where it was written."""
    run = Run.open(path)
    if not run.finished:
        raise UserError(f"{path}: is not finished.", f"Run `kaiffin resume {path}` first.")
    config, (_, header) = run.config, files.header(run.adapter_path)
    located = resolve.ALIASES.get(config.base.name, config.base.name)
    checkpoint = Path(located).name
    if not checkpoint.endswith(".safetensors"):
        checkpoint += ".safetensors"
    sample, embedding = config.sample, run.part_path("embedding")
    text = prompt or f"a photo of {config.subject.phrase}"
    if embedding.is_file():  # ComfyUI takes tokens from files in its own folder, by their names
        text = text.replace(config.subject.token, f"embedding:{embedding.stem}")
    made = comfy.workflow(
        checkpoint=checkpoint, lora=run.adapter_path.name,
        prompt=text, negative=sample.negative,
        size=sample.size or (512, 512), seed=0, steps=sample.steps, guidance=sample.guidance,
        sampler=sample.sampler, v_prediction=header.get("modelspec.prediction_type") == "v",
    )  # fmt: skip
    out = run.write(f"{run.adapter_path.stem}.comfyui.json", json.dumps(made, indent=1).encode())
    console.print(f"{out}: open it in ComfyUI. It wants, in ComfyUI's folders,")
    console.print(f"  models/loras/{run.adapter_path.name} (from {run.adapter_path})")
    if embedding.is_file():
        console.print(f"  models/embeddings/{embedding.name} (from {embedding})")
    console.print(f"  models/checkpoints/{checkpoint} (or choose yours in the first node)")
    return out
