"""One layer under every name that a program gives it is read as that layer."""

import math
import re
from pathlib import Path

import pytest
import torch
from conftest import REPO
from made_adapters import opened
from safetensors.torch import save_file

from kaiffin.adapters.elsewhere.programs import program
from kaiffin.adapters.files import spelling
from kaiffin.adapters.files.tables import published
from kaiffin.foundation.kinds import PARTS
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import OTHERS, SPECS

PATH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
UNDER = PATH.replace(".", "_")
ORIGINAL = "middle_block.1.transformer_blocks.0.attn1.to_q"
TEXT = "text_model.encoder.layers.0.mlp.fc1"
OF_UNET = [
    f"lora_unet_{UNDER}", f"lora_unet_{ORIGINAL.replace('.', '_')}", f"lycoris_{UNDER}",
    f"unet.{PATH}", PATH, f"diffusion_model.{ORIGINAL}", f"diffusion_model.{PATH}",
    f"model.diffusion_model.{ORIGINAL}", f"unet.base_model.model.{PATH}",
]  # fmt: skip
OF_TEXT = [
    f"lora_te_{TEXT.replace('.', '_')}", f"text_encoder.{TEXT}", TEXT,
    f"text_encoder.{TEXT.removeprefix('text_model.')}", f"clip_l.transformer.{TEXT}",
    f"text_encoders.clip_l.transformer.{TEXT}",
]  # fmt: skip
HALVES = [
    (".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight"),
    (".lora.down.weight", ".lora.up.weight"), (".lora_A.default.weight", ".lora_B.default.weight"),
    (".lora_A.default_0.weight", ".lora_B.default_0.weight"),
    (".lora_A.my-style.weight", ".lora_B.my-style.weight"),
    (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"), (".lora_A", ".lora_B"),
]  # fmt: skip


@pytest.mark.parametrize("name", [*OF_UNET, *OF_TEXT])
def test_every_name_of_a_layer(name: str, sd: ModelFamily, tmp_path: Path) -> None:
    home = f"unet.{PATH}" if name in OF_UNET else f"text_encoder.{TEXT}"
    out = 32 if name in OF_UNET else 64
    for down, up in HALVES:
        tensors = {f"{name}{down}": torch.ones(2, 32), f"{name}{up}": torch.ones(out, 2)}
        save_file(tensors | {f"{name}.alpha": torch.tensor(1.0)}, tmp_path / "a.safetensors")
        found = opened(tmp_path / "a.safetensors", sd)
        assert (found.strays, set(found.modules)) == ({}, {home})
        assert float(found.modules[home]["alpha"]) == 1.0


@pytest.mark.parametrize("start", ["", "unet.", "diffusion_model."])
def test_the_oldest_names(start: str, sd: ModelFamily, tmp_path: Path) -> None:
    name = f"{start}{PATH.removesuffix('.to_q')}.processor.to_out_lora"
    tensors = {f"{name}.down.weight": torch.ones(2, 32), f"{name}.up.weight": torch.ones(32, 2)}
    save_file(tensors, tmp_path / "a.safetensors")
    (home,) = opened(tmp_path / "a.safetensors", sd).modules
    assert home == f"unet.{PATH.removesuffix('to_q')}to_out.0"


@pytest.mark.parametrize("size", [(32, 32), (32, 32, 1, 1), (32, 32, 3, 3)])
def test_a_layer_stored_as_its_other_form(size: tuple[int, ...]) -> None:
    """Linear as a 1x1 convolution and back; what is no such layer stays as it is."""
    from kaiffin.adapters.files.reading import as_layer

    ones = [1] * (len(size) - 2)
    for stored in ((), (1, 1)):
        assert as_layer("lora_up.weight", torch.ones(32, 4, *stored), size).shape == (32, 4, *ones)
        assert as_layer("dora_scale", torch.ones(32, 1, *stored), size).shape == (32, 1, *ones)
        assert as_layer("dora_scale", torch.ones(1, 32, *stored), size).shape == (1, 32, *ones)
        down = as_layer("lora_down.weight", torch.ones(4, 32, *stored), size)
        assert down.shape == (4, 32, *(stored if size[2:] == (3, 3) else ones))
    assert as_layer("dora_scale", torch.ones(32), size).shape == (32, 1, *ones)
    assert as_layer("lora_down.weight", torch.ones(4, 32, 3, 3), size).shape == (4, 32, 3, 3)
    flat = torch.arange(4.0 * math.prod(size[1:])).view(4, *size[1:])
    assert as_layer("lora_down.weight", flat.flatten(1), size).equal(flat)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_split_off(part: str) -> None:
    assert spelling.split(f"lora_unet_a.{part}") == ("lora_unet_a", part)


def test_what_is_not_applied_has_a_name_and_is_no_part() -> None:
    for what, endings in spelling.UNAPPLIED.items():
        for ending in endings:
            assert spelling.split(f"unet.a{ending}")[1] == ""
            assert spelling.kind_of_stray(f"unet.a{ending}") == what
    for what, starts in spelling.FOREIGN.items():
        assert {spelling.kind_of_stray(f"{start}a.alpha") for start in starts} == {what}
    assert spelling.kind_of_stray("lora_unet_nowhere.alpha") == spelling.HOMELESS


def which_files_are_read() -> str:
    """The table of docs/adapters.md, of the tables that reading goes by."""
    starts: dict[str, None] = {}
    for spec in SPECS.values():
        for name, tower in spec.towers.items():
            starts |= dict.fromkeys(f"`{p}_`" for p in (tower.kohya, *tower.others))
            starts |= dict.fromkeys(f"`{p}.`" for p in (name, *tower.dotted))
    ends = ", ".join(f"`{ending}`" for ending in spelling.ENDINGS)
    unapplied = "; ".join(
        f"{what} ({', '.join(f'`{e}`' for e in ends)})" for what, ends in spelling.UNAPPLIED.items()
    )
    foreign = "; ".join(
        f"{what} ({', '.join(f'`{start}`' for start in starts)})"
        for what, starts in spelling.FOREIGN.items()
    )
    comfyui = program("comfyui")
    dropped = {
        family: [layer for layer in published(family).layers
                 if not comfyui.takes(f"{layer}.lora_A.weight", family)]
        for family in SPECS
    }  # fmt: skip
    kinds = {re.search(r"\.(attn\d\.\w+)", name)[1] for names in dropped.values() for name in names}
    rows = {
        "names that begin with": f"{', '.join(starts)}; the denoiser's also bare",
        "and end with": ends,
        "not applied, but named": f"{unapplied}; {spelling.BOFT}; {spelling.CONSTRAINED};"
        f" {spelling.PROJECTION}; names that begin otherwise: {foreign}",
        "dropped by ComfyUI of diffusers' layout": f"{', '.join(f'`{k}`' for k in sorted(kinds))}: "
        + ", ".join(f"{len(names)} layers of {SPECS[f].title}" for f, names in dropped.items()),
        "other models, told by header or names": ", ".join(other.title for other in OTHERS),
    }
    lines = [f"| {what} | {said} |" for what, said in rows.items()]
    return "\n".join(["| in the file | |", "|---|---|", *lines])


def test_the_docs_say_which_files_are_read() -> None:
    assert which_files_are_read() in (REPO / "docs" / "adapters.md").read_text(encoding="utf-8")
