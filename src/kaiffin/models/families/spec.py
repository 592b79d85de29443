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
    """

    kohya: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """The names of one family. Towers bear the names of diffusers' components, denoiser first.

    name: in manifests and in `ModelFamily.name`; title: what people call it.
    blocks: pattern of the denoiser's blocks, the units in which adapters are compared.
    versions: how `ss_base_model_version` begins in files for it; the first is what is written.
    architecture: `modelspec.architecture` of an adapter for it.
    pipeline: diffusers' class; tag: the hub's.
    code: where the class of the family is, as "module:class"; read when such a base is loaded.
    checkpoint: how the names of its text encoder begin in a single file of the original layout, by
    which such a file is told; "" where there are none.
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
    checkpoint: str = ""
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
        towers={"unet": Tower("lora_unet"), "text_encoder": Tower("lora_te", ("lora_te1",))},
        blocks=r"down_blocks\.\d+|mid_block|up_blocks\.\d+",
        versions=("sd_v1", "sd_1", "sd1"), architecture="stable-diffusion-v1/lora",
        pipeline="StableDiffusionPipeline", tag="stable-diffusion", context=768,
        code="kaiffin.models.families.sd:StableDiffusion1",
        checkpoint="cond_stage_model.transformer.",
    ),
    "sdxl": Spec(
        name="sdxl", title="SDXL", denoiser="unet",
        towers={
            "unet": Tower("lora_unet"), "text_encoder": Tower("lora_te1"),
            "text_encoder_2": Tower("lora_te2"),
        },
        blocks=r"down_blocks\.\d+|mid_block|up_blocks\.\d+",
        versions=("sdxl_base_v1-0", "sdxl"), architecture="stable-diffusion-xl-v1-base/lora",
        pipeline="StableDiffusionXLPipeline", tag="stable-diffusion-xl", original_blocks=True,
        marks=("lora_te2_", "text_encoder_2.", "transformer_blocks_9_", "transformer_blocks.9."),
        context=2048, code="kaiffin.models.families.sdxl:StableDiffusionXL",
        checkpoint="conditioner.embedders.1.model.",
    ),
}  # fmt: skip

# How files say that they are for bases which none of ours is, though names of layers may agree.
OTHER_BASES = ("sd_v2", "sd_2", "sd2", "sd_v3", "sd_3", "sd3", "flux")


def of_version(version: str) -> Spec | None:
    """The family that `ss_base_model_version` names; None where it is none of ours."""
    return next((s for s in SPECS.values() if version.lower().startswith(s.versions)), None)
