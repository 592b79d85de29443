"""The export proof passes what is right and catches each way in which files go wrong."""

import contextlib
from pathlib import Path

import pytest
import torch
from made_adapters import (
    moved,
    one_alpha,
    output,
    saved,
    varied,
)

from kaiffin.adapters.elsewhere.proof import Proof, accepted_names, prove
from kaiffin.adapters.elsewhere.readers import opened_by_others
from kaiffin.adapters.files import safe, writing
from kaiffin.adapters.files.tables import published
from kaiffin.models.base import ModelFamily


def proof(path: Path, family: ModelFamily) -> Proof:
    return prove(path, family, opened_by_others)


@pytest.mark.parametrize("layout", ["kohya", "diffusers", "peft"])
def test_a_good_file(family: ModelFamily, layout, tmp_path: Path) -> None:
    path = tmp_path / ("folder" if layout == "peft" else "a.safetensors")
    found = varied(family)
    if layout == "kohya":
        found = one_alpha(found)
    if layout == "peft":  # a folder for each model; PEFT itself needs transformers' own names
        found.modules = {n: p for n, p in found.modules.items() if n.startswith("unet.")}
    writing.write(found, path, layout, family.layers_per_block)
    before = output(family)
    made = proof(path, family)
    assert made.holds, made.problems
    assert sum(made.matched.values()) == len(found.modules)
    assert made.effect > 0.1
    assert made.difference < 1e-5
    assert torch.equal(output(family), before)  # nothing stays behind


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_an_adapter_that_does_nothing_is_not_proven(
    sd: ModelFamily, layout, tmp_path: Path
) -> None:
    """As one is that was never trained: its up matrices are zero."""
    found, path = one_alpha(varied(sd)), tmp_path / "a.safetensors"
    for parts in found.modules.values():
        parts["lora_up.weight"] = torch.zeros_like(parts["lora_up.weight"])
    writing.write(found, path, layout, sd.layers_per_block)
    made = proof(path, sd)
    assert made.effect == made.difference == 0
    assert made.as_json()["holds"] is False
    assert made.sentences[0].startswith("proof fails: it does nothing")


def test_a_wrong_strength_is_caught(sd: ModelFamily, tmp_path: Path) -> None:
    """The other reader is given factors that are a tenth too strong."""
    path = tmp_path / "a.safetensors"
    writing.write(varied(sd), path, "diffusers")
    tensors, header = safe.read(path)
    made = proof(path, sd)
    assert made.holds
    wrong = {n: t * (1.1 if "lora_B" in n else 1) for n, t in tensors.items()}
    other = tmp_path / "b.safetensors"
    safe.save(other, wrong, header)

    @contextlib.contextmanager
    def open_another(family: ModelFamily, _: Path):
        with opened_by_others(family, other) as matched:
            yield matched

    made = prove(path, sd, open_another)
    assert not made.holds
    assert "its output differs" in made.problems[0]


def test_diffusers_takes_one_alpha_for_all_attention_layers(
    sd: ModelFamily, tmp_path: Path
) -> None:
    """Of a kohya file, as of 0.42.1; when this fails, diffusers has mended it."""
    path = tmp_path / "a.safetensors"
    writing.write(varied(sd), path, "kohya")
    made = proof(path, sd)
    assert "differs by" in made.problems[0]
    assert "--to diffusers" in made.problems[1]
    writing.write(varied(sd), tmp_path / "b.safetensors", "diffusers")
    assert proof(tmp_path / "b.safetensors", sd).holds


def test_names_that_others_ignore_are_caught(sd: ModelFamily, tmp_path: Path) -> None:
    """diffusers opens this file to the same picture, and ComfyUI drops its text half."""
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd)), path, "kohya")
    tensors, header = safe.read(path)
    wrong = {n.replace("lora_te_text_model_", "lora_te_"): t for n, t in tensors.items()}
    safe.save(tmp_path / "b.safetensors", wrong, header)
    made = proof(tmp_path / "b.safetensors", sd)
    assert not made.holds
    text = sum(n.startswith("lora_te_") for n in tensors)
    assert f"ComfyUI does not know {text} of {len(tensors)} keys" in made.problems


def test_the_prefix_of_clip_l_on_sd1(sd: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd)), path, "kohya")
    tensors, header = safe.read(path)
    wrong = {n.replace("lora_te_", "lora_te1_"): t for n, t in tensors.items()}
    safe.save(path, wrong, header)
    made = proof(path, sd)
    assert {problem.split()[0] for problem in made.problems} == {"A1111", "sd-scripts"}


def test_what_programs_accept_on_the_published_bases() -> None:
    sd1, sdxl = (accepted_names(published(f).layers, f) for f in ("sd1", "sdxl"))
    block = "transformer_blocks_0_attn1_to_q"
    for program in ("ComfyUI", "A1111", "sd-scripts"):
        assert f"lora_unet_down_blocks_0_attentions_0_{block}" in sd1[program]
        assert "lora_te_text_model_encoder_layers_11_mlp_fc2" in sd1[program]
        assert f"lora_unet_input_blocks_4_1_{block}" in sdxl[program]
        assert "lora_te2_text_model_encoder_layers_31_self_attn_k_proj" in sdxl[program]
        assert "lora_te_encoder_layers_0_mlp_fc1" not in sd1[program]
    assert "lora_unet_input_blocks_1_1_proj_in" in sd1["ComfyUI"]
    assert "lora_unet_output_blocks_2_1_conv" in sd1["ComfyUI"]  # no attention: the second place
    assert "lora_unet_input_blocks_1_1_proj_in" not in sd1["sd-scripts"]
    for known in (sd1, sdxl):
        top = {"conv_in", "input_blocks_0_0", "time_embedding_linear_1", "time_embed_0"}
        assert not any(f"lora_unet_{name}" in known["sd-scripts"] for name in top)
        assert any(f"lora_unet_{name}" in known["ComfyUI"] for name in top)


def test_what_becomes_of_dora_in_comfyui_is_said(sd: ModelFamily, tmp_path: Path) -> None:
    for kind, said in (("dora", 1), ("loha", 0)):
        path = saved(moved(sd, kind), sd, tmp_path / f"{kind}.safetensors")
        made = proof(path, sd)
        assert made.holds
        assert sum("ComfyUI divides" in line for line in made.sentences) == said
