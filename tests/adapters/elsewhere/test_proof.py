"""The export proof passes what is right and catches each way in which files go wrong."""

import contextlib
import json
import logging
import re
from logging.handlers import BufferingHandler
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
from safetensors.torch import save_file
from test_spelling import HALVES, OF_UNET

from kaiffin.adapters.elsewhere.proof import Proof, accepted_names, prove
from kaiffin.adapters.elsewhere.readers import opened_by_others
from kaiffin.adapters.files import safe, writing
from kaiffin.adapters.files.tables import published
from kaiffin.adapters.ranks import RankSchedule
from kaiffin.adapters.stack import full_modules
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily

# Layers of the UNet, of one of its levels; of the text encoder all.
SOME = "*.mid_block.*"


def proof(path: Path, family: ModelFamily) -> Proof:
    return prove(path, family, opened_by_others)


@pytest.mark.parametrize("layout", ["kohya", "diffusers", "peft"])
def test_a_good_file(family: ModelFamily, layout, tmp_path: Path) -> None:
    path = tmp_path / ("folder" if layout == "peft" else "a.safetensors")
    found = varied(family)
    if layout == "kohya":
        found = one_alpha(found)
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
    found, path = one_alpha(varied(sd, targets=SOME)), tmp_path / "a.safetensors"
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
    writing.write(varied(sd, targets=SOME), path, "diffusers")
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
    writing.write(varied(sd, targets=SOME), path, "kohya")
    made = proof(path, sd)
    assert "differs by" in made.problems[0]
    assert "--to diffusers" in made.problems[1]
    writing.write(varied(sd, targets=SOME), tmp_path / "b.safetensors", "diffusers")
    assert proof(tmp_path / "b.safetensors", sd).holds


def test_names_that_others_ignore_are_caught(sd: ModelFamily, tmp_path: Path) -> None:
    """diffusers opens this file to the same picture, and ComfyUI drops its text half."""
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd, targets=SOME)), path, "kohya")
    tensors, header = safe.read(path)
    wrong = {n.replace("lora_te_text_model_", "lora_te_"): t for n, t in tensors.items()}
    safe.save(tmp_path / "b.safetensors", wrong, header)
    made = proof(tmp_path / "b.safetensors", sd)
    assert not made.holds
    text = sum(n.startswith("lora_te_") for n in tensors)
    assert f"ComfyUI does not know {text} of {len(tensors)} keys" in made.problems


def test_the_prefix_of_clip_l_on_sd1(sd: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd, targets=SOME)), path, "kohya")
    tensors, header = safe.read(path)
    wrong = {n.replace("lora_te_", "lora_te1_"): t for n, t in tensors.items()}
    safe.save(path, wrong, header)
    made = proof(path, sd)
    assert {problem.split()[0] for problem in made.problems} == {"sd-scripts"}


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
    upsampler, sizes = "lora_unet_up_blocks_0_upsamplers_0_conv", "lora_unet_add_embedding_linear_1"
    assert {upsampler, sizes} <= sdxl["ComfyUI"]
    assert not {upsampler, sizes} & sdxl["A1111"]
    assert upsampler in sd1["A1111"]
    for known in (sd1, sdxl):
        top = {"conv_in", "input_blocks_0_0", "time_embedding_linear_1", "time_embed_0"}
        assert not any(f"lora_unet_{name}" in known["sd-scripts"] for name in top)
        assert any(f"lora_unet_{name}" in known["ComfyUI"] for name in top)


def test_what_becomes_of_dora_elsewhere_is_said(sd: ModelFamily, tmp_path: Path) -> None:
    for kind, said in (("dora", ["ComfyUI divides", "A1111 takes"]), ("loha", [])):
        path = saved(moved(sd, kind, SOME), sd, tmp_path / f"{kind}.safetensors")
        made = proof(path, sd)
        assert made.holds
        assert len(made.sentences) == 1 + len(said)
        for line, start in zip(made.sentences[1:], said, strict=True):
            assert line.startswith(f"note: {start}")


def test_what_becomes_of_ranks_that_depend_on_the_timestep_is_said(
    sd: ModelFamily, tmp_path: Path
) -> None:
    """Like is compared with like: all ranks, which is what others see. The note says how far that
    is from our output in the middle of all timesteps."""
    paths, found = [], one_alpha(varied(sd, targets=SOME))
    for metadata in ({}, RankSchedule(1).header()):
        found.metadata = metadata
        paths.append(tmp_path / f"{len(metadata)}.safetensors")
        writing.write(found, paths[-1], "kohya")
    plain, timed = (proof(path, sd) for path in paths)
    assert timed.holds
    assert (timed.effect, timed.difference) == (plain.effect, plain.difference)
    (line,) = timed.quirks
    assert not plain.quirks
    assert "here 1 act at the most noise" in line
    assert re.search(r"by [1-9]\d*% of the adapter's effect", line)


@pytest.mark.parametrize(("kind", "scripts"), [("lora", True), ("loha", False), ("dora", False)])
def test_no_more_is_claimed_than_a_program_reads(
    kind: str, scripts: bool, sd: ModelFamily, tmp_path: Path
) -> None:
    """sd-scripts' own network has LoRA's parts alone."""
    made = proof(saved(moved(sd, kind, SOME), sd, tmp_path / "a.safetensors"), sd)
    assert set(made.known) == {"A1111", "ComfyUI"} | ({"sd-scripts"} if scripts else set())
    assert all(count == made.keys for count in made.known.values())


def test_layers_that_sd_scripts_does_not_make(sd: ModelFamily, tmp_path: Path) -> None:
    """They apply elsewhere; its answer is a problem of the file, with its count."""
    path = saved(
        moved(sd, "lora", "conv_in,conv_out,time_embedding.*"), sd, tmp_path / "a.safetensors"
    )
    unet = {key: value for key, value in safe.read(path)[0].items() if "_te_" not in key}
    safe.save(path, unet, {})
    made = proof(path, sd)
    assert made.keys == 12
    assert made.known == {"A1111": 12, "ComfyUI": 12, "sd-scripts": 0}


def test_what_comfyui_drops_of_a_layout_is_said(sd: ModelFamily, tmp_path: Path) -> None:
    for layout, drops in (("kohya", False), ("diffusers", True)):
        path = tmp_path / f"{layout}.safetensors"
        writing.write(one_alpha(varied(sd, targets=SOME)), path, layout)
        made = proof(path, sd)
        assert made.holds
        assert (made.dropped > 0) == drops
        assert any("ComfyUI drops" in line for line in made.sentences) == drops


def test_nothing_is_heard_of_a_reader_that_refuses(sd: ModelFamily, tmp_path: Path) -> None:
    """diffusers has no place for 1x1 convolutions stored flat; it is given them as it wants."""
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd)), path, "kohya")
    tensors, header = safe.read(path)
    flat = {k: t.flatten(1) if t.shape[2:] == (1, 1) else t for k, t in tensors.items()}
    safe.save(path, flat, header)
    heard = BufferingHandler(100)
    logging.getLogger("diffusers").addHandler(heard)
    try:
        made = proof(path, sd)
    finally:
        logging.getLogger("diffusers").removeHandler(heard)
    assert made.holds
    assert "diffusers cannot open it" in made.sentences[-1]
    assert not heard.buffer


def test_a_proof_of_what_is_left(sd: ModelFamily, tmp_path: Path) -> None:
    """Both readers are given the file without it, and the answer says so."""
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd, targets=SOME)), path, "kohya")
    tensors, header = safe.read(path)
    odd = "lora_unet_mid_block_attentions_0_norm.w_norm"
    safe.save(path, tensors | {odd: torch.ones(32)}, header)
    with pytest.raises(AdapterError, match="norm layers"):
        proof(path, sd)
    made = prove(path, sd, opened_by_others, skip_unknown=True)
    assert made.holds
    assert made.as_json()["skipped"] == {odd: "norm layers"}
    assert made.sentences[-1] == "note: all of it without 1 key (norm layers)"
    assert made.keys == len(tensors)


def test_peft_folders_of_every_tower_are_proven(family: ModelFamily, tmp_path: Path) -> None:
    """The text encoders' too, whose modules transformers has renamed since."""
    path = tmp_path / "folder"
    found = varied(family)
    writing.write(found, path, "peft", family.layers_per_block)
    made = proof(path, family)
    assert made.holds, made.problems
    assert made.matched == made.layers
    assert (made.keys, made.known) == (0, {})  # no program's file is claimed of a folder
    config = json.loads((path / "unet" / "adapter_config.json").read_text())
    wide = config | {"target_modules": ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "conv1"]}
    for tower in family.towers:
        alone = proof(path / tower, family)
        assert alone.holds, alone.problems
        assert alone.matched[tower] == made.matched[tower]
    name = next(n for n in found.modules if n.endswith("attn1.to_q"))  # one layer of those it names
    found.modules = {name: found.modules[name]}
    writing.write(found, path / "one", "peft", family.layers_per_block)
    (path / "one" / "adapter_config.json").write_text(json.dumps(wide | {"alpha_pattern": {}}))
    one = proof(path / "one", family)
    assert one.matched["unet"] == 1
    assert not [problem for problem in one.problems if "attached" in problem]


@pytest.mark.parametrize("number", range(len(OF_UNET)))
def test_a_file_that_applies_is_proven_however_it_is_spelled(
    number: int, sd: ModelFamily, tmp_path: Path
) -> None:
    """Where another reader does not open it as it is, that is said, and its content proven."""
    rng = torch.Generator().manual_seed(0)
    name, (down, up) = OF_UNET[number], HALVES[number % len(HALVES)]
    tensors = {f"{name}{down}": torch.randn(2, 32, generator=rng),
               f"{name}{up}": torch.randn(32, 2, generator=rng)}  # fmt: skip
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    made = proof(path, sd)
    assert made.matched == made.layers == {"unet": 1, "text_encoder": 0}
    assert made.difference < 1e-5 < made.effect
    assert not any("differs" in problem for problem in made.problems)
    assert bool(made.refused) == any("note: proven as" in line for line in made.sentences)


def test_lycoris_is_given_what_it_cannot_read_as_it_reads_it(
    sd: ModelFamily, tmp_path: Path
) -> None:
    """A flat magnitude, as PEFT has it, under kohya's names; LoKr under names with dots."""
    path = saved(moved(sd, "dora", SOME), sd, tmp_path / "a.safetensors")
    tensors, _ = safe.read(path)
    flat = {k: t.flatten() if k.endswith("dora_scale") else t for k, t in tensors.items()}
    lokr = "diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q"
    rng = torch.Generator().manual_seed(0)
    dotted = {f"{lokr}.lokr_w1": torch.randn(4, 4, generator=rng),
              f"{lokr}.lokr_w2": torch.randn(8, 8, generator=rng)}  # fmt: skip
    for given in (flat, dotted):
        save_file(given, path)
        made = proof(path, sd)
        assert made.holds, made.problems
        assert made.difference < 1e-5
        assert "LyCORIS" in made.refused


def test_others_may_break_off_wherever_they_are(sd: ModelFamily, tmp_path: Path) -> None:
    """diffusers 0.42.1 loads magnitudes under an adapter's name by half and fails in use; a LoRA in
    Tucker's form and a file of another suffix it does not open."""
    name, rng = OF_UNET[3], torch.Generator().manual_seed(0)
    dora = {f"{name}.lora_A.style.weight": torch.randn(2, 32, generator=rng),
            f"{name}.lora_B.style.weight": torch.randn(32, 2, generator=rng),
            f"{name}.lora_magnitude_vector.style.weight": torch.ones(32)}  # fmt: skip
    conv = "lora_unet_mid_block_resnets_0_conv1"
    out, inner = full_modules(sd)["unet.mid_block.resnets.0.conv1"].weight.shape[:2]
    tucker = {f"{conv}.lora_down.weight": torch.randn(2, inner, 1, 1, generator=rng),
              f"{conv}.lora_up.weight": torch.randn(out, 2, 1, 1, generator=rng),
              f"{conv}.lora_mid.weight": torch.randn(2, 2, 3, 3, generator=rng),
              f"{conv}.alpha": torch.tensor(2.0)}  # fmt: skip
    before = output(sd)
    for suffix, given in ((".safetensors", dora), (".SAFETENSORS", tucker), (".lora", dora)):
        path = tmp_path / f"a{suffix}"
        save_file(given, path)
        made = proof(path, sd)
        assert made.holds, made.problems
        assert made.difference < 1e-5
        assert torch.equal(output(sd), before)
