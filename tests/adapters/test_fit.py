"""What `inspect` finds wrong with a file, by its shapes, is what loading it onto the base finds."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_adapters import moved, predict, saved
from safetensors.torch import save_file

from kaiffin.adapters.files import arrays
from kaiffin.adapters.files.open import open_file
from kaiffin.adapters.fit import faults
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.ranks import RankSchedule
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.kinds import PARTS, KindName
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily

Q = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"  # 32 to 32, of no bias
FC = "lora_te_text_model_encoder_layers_0_mlp_fc1"  # 32 to 64
WEIGHTS = sorted({*PARTS} - {"alpha"})
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def test_parts_of_any_shape_are_read_or_refused(sd: ModelFamily, tmp_path: Path) -> None:
    """Whatever stands together in a file: it is applied, or an error says why not."""
    path = tmp_path / "a.safetensors"

    @settings(max_examples=150, deadline=None)
    @given(
        parts=st.dictionaries(st.sampled_from(WEIGHTS), SHAPES, min_size=1, max_size=5),
        alpha=st.sampled_from([None, 0.0, 1.0, -2.0]),
    )
    @example(parts={"hada_t1": (1, 1), "oft_blocks": (1, 1, 1)}, alpha=None)  # of two kinds
    def check(parts: dict, alpha: float | None) -> None:
        tensors = {f"{Q}.{part}": torch.ones(shape) for part, shape in parts.items()}
        if alpha is not None:
            tensors[f"{Q}.alpha"] = torch.tensor(alpha)
        save_file(tensors, path)
        found = refusals(path, sd)
        if found:
            with pytest.raises(AdapterError) as refused:
                load_adapter(path, sd)
            assert any(problem in str(refused.value) for problem in found)
            return
        stack = load_adapter(path, sd)
        stack.inject(sd)
        try:
            assert predict(sd).isfinite().all()
        finally:
            stack.eject()

    check()


def refusals(path: Path, family: ModelFamily) -> list[str]:
    """Why the file would not load, as `inspect` finds it: from its tables, without the base."""
    try:
        opened = open_file(path, family.base, tell=SILENT, reader=arrays.read)
    except AdapterError as error:
        return [error.message]
    return [error.message for error in faults(opened.file, opened.table)]


def lora(name: str, out: int, inner: int, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    parts = {"lora_down.weight": torch.ones(2, inner), "lora_up.weight": torch.ones(out, 2)}
    return {f"{name}.{part}": value for part, value in (parts | more).items()}


OF_OTHERS = {
    "Wan": (
        "diffusion_model.blocks.0.self_attn.q", "lora_unet_blocks_0_self_attn_o",
        "blocks.3.self_attn.v", "lora_unet_blocks_7_cross_attn_k_img",
    ),
    "AnimateDiff": (
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.to_q",
    ),
    "Cosmos or Anima": (
        "lora_unet_blocks_0_cross_attn_q_proj", "diffusion_model.blocks.1.cross_attn.output_proj",
    ),
    "LTX-Video or another diffusion transformer": (
        "diffusion_model.transformer_blocks.0.attn1.to_q", "lora_unet_blocks_0_self_attn_q_proj",
        "transformer.transformer_blocks.0.attn1.to_out.0", "diffusion_model.layers.3.attention.qkv",
        "lora_unet_transformer_blocks_0_ff_net_2", "lycoris_layers_0_attention_qkv",
    ),
}  # fmt: skip


BROKEN = {
    "another width": (lora(Q, 32, 48), {}, "where this base needs"),
    "another base": (lora(Q, 32, 32), {"ss_base_model_version": "sdxl_base_v1-0"}, "made for sdxl"),
    "a base of nobody's": (lora(Q, 32, 32), {"ss_base_model_version": "sd_v2_v"}, "made for sd_v2"),
    "a half": ({f"{Q}.lora_down.weight": torch.ones(2, 32)}, {}, "lora_up is missing"),
    "halves of two ranks": (
        lora(Q, 32, 32) | {f"{Q}.lora_up.weight": torch.ones(32, 3)}, {}, "do not match",
    ),
    "rank 0": (
        {f"{Q}.lora_down.weight": torch.ones(0, 32), f"{Q}.lora_up.weight": torch.ones(32, 0)}, {},
        "do not match",
    ),
    "a key of nobody's": (lora(Q, 32, 32) | lora(f"{Q}_x", 1, 1), {}, "no home in SD 1.x"),
    "an alpha for each rank": (lora(Q, 32, 32, alpha=torch.ones(2)), {}, "do not fit together"),
    "a flat magnitude": (lora(FC, 64, 32, dora_scale=torch.ones(32)), {}, "where this base needs"),
    "Tucker's form without a kernel": (
        lora(Q, 32, 32, **{"lora_mid.weight": torch.ones(2, 2, 3, 3)}), {}, "where this base needs",
    ),
    "norms": (
        lora(Q, 32, 32) | {"lora_unet_mid_block_attentions_0_norm.w_norm": torch.ones(32)}, {},
        "norm layers",
    ),
    "a scalar": (lora(Q, 32, 32, scalar=torch.ones(())), {}, "scalars"),
    "a bias": (lora(Q, 32, 32, diff_b=torch.ones(32)), {}, "differences of biases"),
    "a full difference": ({f"{Q}.diff": torch.ones(32, 32)}, {}, "full differences"),
    "IA3": ({f"{Q}.weight": torch.ones(1, 32), f"{Q}.on_input": torch.ones(1)}, {}, "IA3"),
    "BOFT": ({f"{Q}.oft_blocks": torch.ones(2, 4, 8, 8)}, {}, "BOFT"),
    "GLoRA": ({f"{Q}.{p}.weight": torch.ones(2, 2) for p in ("a1", "b1")}, {}, "GLoRA"),
    "a projection": (
        lora(Q, 32, 32) | lora("lora_te2_text_projection", 32, 32), {}, "encoder's projection",
    ),
    "Flux by its header": (lora(Q, 32, 32), {"modelspec.architecture": "flux-1-dev/lora"}, "flux"),
    "Flux by its names": (lora("lora_unet_double_blocks_0_img_attn_qkv", 8, 8), {}, "for Flux"),
    "SD 3": (lora("transformer.transformer_blocks.0.attn.add_q_proj", 8, 8), {}, "for SD 3"),
    "Flux with the names of SD 3": (
        lora("transformer.transformer_blocks.0.attn.add_q_proj", 8, 8)
        | lora("transformer.single_transformer_blocks.0.attn.to_q", 8, 8), {}, "for Flux",
    ),
    "Qwen with the names of SD 3": (
        lora("transformer_blocks.0.attn.add_q_proj", 8, 8)
        | lora("transformer_blocks.0.img_mlp.net.2", 8, 8), {}, "for Qwen-Image",
    ),
    "HunyuanVideo with the blocks of Flux": (
        lora("transformer.double_blocks.0.img_attn_qkv", 8, 8), {}, "for HunyuanVideo",
    ),
    **{
        f"{title}: {name}": (lora(name, 8, 8), {}, f"for {title}")
        for title, names in OF_OTHERS.items() for name in names
    },
    "OFT of sd-scripts": (
        {"oft_unet_mid_block_attentions_0_proj_in.oft_blocks": torch.ones(2, 4, 4)}, {},
        "OFT of sd-scripts",
    ),
    "a checkpoint": (
        {"first_stage_model.encoder.conv_in.weight": torch.ones(8, 3, 3, 3)}, {}, "whole model",
    ),
    "SD 2 by its width": (
        lora(Q.replace("attn1_to_q", "attn2_to_k"), 32, 1024), {}, r"made for SD 2\.x",
    ),
    "ranks by a rule of nobody's": (
        lora(Q, 32, 32), {"kaiffin.rank_schedule": "half"}, "rank_schedule = 'half' cannot be read",
    ),
    "ranks of a LoHa that depend on the timestep": (
        {f"{Q}.hada_w{i}_{side}": torch.ones(*size) for i in (1, 2)
         for side, size in (("a", (32, 2)), ("b", (2, 32)))},
        RankSchedule(1).header(), "loha has no ranks that could be left out",
    ),
    "factors of another size": (
        {f"{Q}.lokr_w1": torch.ones(2, 2), f"{Q}.lokr_w2": torch.ones(4, 4)}, {}, "of its factors",
    ),
    "a token of another width": (
        lora(Q, 32, 32) | {"bundle_emb.<x>.string_to_param.*": torch.ones(2, 31)}, {}, "no token",
    ),
    "a token without vectors": (
        lora(Q, 32, 32) | {"bundle_emb.<x>.string_to_param.*": torch.ones(0, 32)}, {}, "no token",
    ),
    "a token of two encoders": (
        lora(Q, 32, 32) | {"bundle_emb.<x>.clip_g": torch.ones(2, 32)}, {}, "no token",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_inspect_and_loading_say_the_same(what: str, sd: ModelFamily, tmp_path: Path) -> None:
    tensors, header, said = BROKEN[what]
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, header)
    with pytest.raises(AdapterError, match=said) as refused:
        load_adapter(path, sd)
    found = refusals(path, sd)
    assert len(found) == 1
    assert found[0] in str(refused.value)


def test_a_sound_file_has_no_faults(sd: ModelFamily, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for kind in get_args(KindName):
        saved(moved(sd, kind, "*.mid_block.*"), sd, path)
        load_adapter(path, sd)
        assert not refusals(path, sd)
