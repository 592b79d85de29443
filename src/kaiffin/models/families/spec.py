"""What files and other programs call the families and their parts: one `Spec` each. Torch-free.

A family is a row of `SPECS`; everything outside `models` asks the row, never which family it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

TEXT = "text_encoder"  # how the names of all text towers begin, as diffusers calls them


@dataclass(frozen=True)
class Tower:
    """A part of a base that adapters are put on.

    kohya: how its layers' names begin in kohya's files; others: how some programs begin them.
    dotted: how programs begin names that keep their dots, the tower's own beside them.
    original: how its weights begin in a single checkpoint file of the original layout; "" where
    there are no such files.
    """

    kohya: str
    others: tuple[str, ...] = ()
    dotted: tuple[str, ...] = ()
    original: str = ""


# In front of the original code's names, and of LyCORIS' own for a model that it wraps.
UNET = "model.diffusion_model."
_UNET = Tower("lora_unet", ("lycoris",), ("diffusion_model", "model.diffusion_model"), UNET)
_CLIP_L = ("clip_l.transformer", "text_encoders.clip_l.transformer")
_CLIP_G = ("clip_g.transformer", "text_encoders.clip_g.transformer")


_OF_SDXL = ("pony", "illustrious", "noobai", "animagine")  # tuned SDXL, named by their makers


@dataclass(frozen=True)
class Spec:
    """The names of one family. Towers bear the names of diffusers' components, denoiser first.

    name: in manifests and in `ModelFamily.name`; title: what people call it.
    blocks: pattern of the denoiser's blocks, the units in which adapters are compared.
    versions: how `ss_base_model_version` begins in files for it; the first is what is written.
    architecture: `modelspec.architecture` of an adapter for it.
    pipeline: diffusers' class; tag: the hub's.
    code: where the class of the family is, as "module:class"; read when such a base is loaded.
    original_blocks: whether kohya names the denoiser's layers by the blocks of the original code
    (input_blocks, middle_block, output_blocks) instead of diffusers'.
    marks: parts of layer names that no other family has; context: width of the text states that
    the published base's denoiser hears. Both tell an adapter without a header.
    """

    name: str
    title: str
    denoiser: str
    towers: Mapping[str, Tower]
    blocks: str
    versions: tuple[str, ...]
    architecture: str
    pipeline: str
    tag: str
    code: str
    original_blocks: bool = False
    marks: tuple[str, ...] = ()
    context: int = 0

    @property
    def base_version(self) -> str:
        """`ss_base_model_version` of an adapter for it."""
        return self.versions[0]

    @property
    def text_towers(self) -> tuple[str, ...]:
        return tuple(tower for tower in self.towers if tower != self.denoiser)

    def block_of(self, layer: str) -> str:
        """`unet.down_blocks.1.attentions.0...` -> `unet.down_blocks.1`; what lies in no block, and
        a text tower, is one block."""
        tower, _, path = layer.partition(".")
        match = re.match(self.blocks, path) if tower == self.denoiser else None
        return f"{tower}.{match[0]}" if match else tower


SPECS: dict[str, Spec] = {
    "sd1": Spec(
        name="sd1", title="SD 1.x", denoiser="unet",
        towers={
            "unet": _UNET,
            "text_encoder": Tower(
                "lora_te", ("lora_te1",), _CLIP_L, original="cond_stage_model.transformer."
            ),
        },
        blocks=r"down_blocks\.\d+|mid_block|up_blocks\.\d+",
        versions=("sd_v1", "sd1", "stable-diffusion-v1"), architecture="stable-diffusion-v1/lora",
        pipeline="StableDiffusionPipeline", tag="stable-diffusion", context=768,
        code="kaiffin.models.families.sd:StableDiffusion1",
    ),
    "sdxl": Spec(
        name="sdxl", title="SDXL", denoiser="unet",
        towers={
            "unet": _UNET,
            "text_encoder": Tower(
                "lora_te1", ("lora_te",), _CLIP_L, original="conditioner.embedders.0.transformer."
            ),
            "text_encoder_2": Tower(
                "lora_te2", dotted=_CLIP_G, original="conditioner.embedders.1.model."
            ),
        },
        blocks=r"down_blocks\.\d+|mid_block|up_blocks\.\d+",
        versions=("sdxl_base_v1-0", "sdxl", "stable-diffusion-xl", *_OF_SDXL),
        architecture="stable-diffusion-xl-v1-base/lora",
        pipeline="StableDiffusionXLPipeline", tag="stable-diffusion-xl", original_blocks=True,
        marks=("lora_te2_", "text_encoder_2.", "transformer_blocks_9_", "transformer_blocks.9."),
        context=2048, code="kaiffin.models.families.sdxl:StableDiffusionXL",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Other:
    """A model that is none of ours, known so that its files can be named.

    versions: as `Spec.versions`; marks: parts of layer names that only it has; context: as
    `Spec.context`, where it shares the names of our layers.
    """

    title: str
    versions: tuple[str, ...]
    marks: tuple[str, ...] = ()
    context: int = 0


_OF_DITS = ("transformer_blocks.", "blocks.", "layers.")  # where a UNet has down, mid and up

OTHERS = (
    Other("SD 2.x", ("sd_v2", "sd2", "stable-diffusion-v2"), context=1024),
    Other("HunyuanVideo", ("hunyuan",), ("token_refiner", ".img_attn_qkv", ".txt_attn_qkv")),
    Other("Flux", ("flux", "chroma"),
          ("double_blocks", "single_blocks", "single_transformer_blocks", "context_embedder")),
    Other("Qwen-Image", ("qwen",), ("img_mlp", "txt_mlp")),
    Other("Wan", ("wan",),
          (*(f"_attn{x}{y}." for x in "._" for y in "qkvo"), "attn_k_img", "attn.k_img")),
    Other("Cosmos or Anima", ("cosmos", "anima"),
          (".cross_attn.", "_cross_attn_", "adaln_modulation")),
    Other("AnimateDiff", ("animatediff",), ("motion_modules", "temporal_transformer")),
    Other("Stable Cascade", ("stable_cascade", "stable-cascade"), ("kv_mapper",)),
    Other("PixArt", ("pixart",), ("adaln_single", "caption_projection")),
    Other("Z-Image or Lumina", ("z_image", "z-image", "lumina"),
          ("context_refiner", "noise_refiner")),
    Other("HiDream", ("hidream",), ("double_stream_blocks", "single_stream_blocks")),
    # After all others with two streams, which have its `attn.add_q_proj`, too.
    Other("SD 3", ("sd_v3", "sd3", "stable-diffusion-v3", "stable-diffusion-3"),
          ("joint_blocks", "joint_transformer_blocks", "lora_te3_", ".attn.add_")),
    Other("LTX-Video or another diffusion transformer", ("ltx", "cogvideo", "mochi", "sana"),
          ("patchify_proj", "lora_transformer_",
           *(f"{x}.{y}" for x in ("diffusion_model", "transformer") for y in _OF_DITS),
           *(f"{x}_{y[:-1]}_" for x in ("lora_unet", "lycoris") for y in _OF_DITS))),
)  # fmt: skip


def tokenizer_of(tower: str) -> str:
    """`text_encoder_2` -> `tokenizer_2`, as diffusers' folders have them."""
    return tower.replace(TEXT, "tokenizer")


def of_version(version: str) -> Spec | None:
    """The family that `ss_base_model_version` names; None where it is none of ours."""
    return next((s for s in SPECS.values() if _begins(version, s.versions)), None)


def other_of_version(version: str) -> Other | None:
    """The model of nobody's here that `ss_base_model_version` names."""
    return next((other for other in OTHERS if _begins(version, other.versions)), None)


def _begins(version: str, known: tuple[str, ...]) -> bool:
    """`SD 1.5`, `sd_1.5` and `sd15` are one: programs write it as they please."""
    return _bare(version).startswith(tuple(_bare(name) for name in known))


def _bare(version: str) -> str:
    return re.sub(r"[^a-z0-9]", "", version.lower())
