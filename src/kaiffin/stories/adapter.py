"""The adapter commands as story pages: look into a file, change its layout, prove it, edit it.

All but `verify` and `extract` need no base weights: what a file should hold is known from tables.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kaiffin.adapters.elsewhere import comfy
from kaiffin.adapters.elsewhere.proof import Proof, prove
from kaiffin.adapters.elsewhere.readers import opened_by_others
from kaiffin.adapters.files import edit, reading, safe, writing
from kaiffin.adapters.files.open import open_file
from kaiffin.adapters.files.reading import AdapterFile, Layout
from kaiffin.adapters.kinds import rank_of
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.strength import PLAIN
from kaiffin.foundation.config import BaseConfig
from kaiffin.foundation.errors import AdapterError, UserError
from kaiffin.foundation.run import Run
from kaiffin.foundation.runtime import Runtime
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import BASE_VERSIONS
from kaiffin.models.files import resolve
from kaiffin.models.files.load import load
from kaiffin.models.files.pipeline import save
from kaiffin.stories.inspect import console, range_of

# --- inspect ----------------------------------------------------------------------------------


# --- convert and verify -----------------------------------------------------------------------


def convert(path: Path, out: Path, layout: Layout, base: str | None = None) -> None:
    """Writes the adapter in another layout, exact in weight and strength."""
    _refuse_existing(out)
    opened = open_file(path, base)
    reading.refuse_strays(opened.file)
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
        reading.refuse_strays(one.file)
    made = edit.merge([(one.file, weight) for one, weight in opened])
    if rank:
        made, cuts = edit.resize(made, rank=rank)
        _print_cuts(cuts)
    writing.write(made, out, "kohya", opened[0][0].layers_per_block)
    ranks = range_of(rank_of(parts) for parts in made.modules.values())
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
    reading.refuse_strays(opened.file)
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
        "ss_base_model_version": BASE_VERSIONS[families[1].name], "ss_v2": "False",
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
        table.add_row(block, str(len(found)), range_of(c.rank for c in found), f"{whole.error:.2%}")
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
    config, (_, header) = run.config, safe.header(run.adapter_path)
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
