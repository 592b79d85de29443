"""The kinds of files and folders that people call a base: how each is known, what becomes of it.

One table, from which files are recognised (see recognise.py) and the page about bases is made.
Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PLAIN = "Take the plain text-to-image checkpoint that it was made of."
OTHER_MODEL = "Kaiffin reads bases of SD 1.x and SDXL."
FULL = "Take a full checkpoint or a diffusers folder as base."


@dataclass(frozen=True)
class Kind:
    """Something that is no base for Kaiffin, known so that it can be called by its name.

    title: with its article, where it is one file of many; fix: the way out.
    marks: beginnings of tensors' names, without `model.diffusion_model.`, of which one is enough; a
    mark with a star in front is looked for inside the names.
    pipelines: how the names of its pipelines begin in diffusers.
    """

    title: str
    marks: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    fix: str = OTHER_MODEL

    @property
    def known(self) -> str:
        """How it is known, in words."""
        weights = ", ".join(f"`{mark.strip()}`" for mark in self.marks)
        classes = ", ".join(f"`{name}…`" for name in self.pipelines)
        return "; ".join(
            f"{what} {names}" for what, names in (("weights", weights), ("class", classes)) if names
        )


# Files that are part of a base, or go beside one. In this order: a ControlNet holds half a UNet.
BESIDE = (
    Kind("a LoRA or another adapter",
         ("*.lora_down.", "*.lora_up.", "*.lora_A.", "*.lora_B.", "*.lora.down.", "*.hada_w1_a",
          "*.lokr_w1", "*.oft_blocks", "*.dora_scale", "lora_unet_", "lora_te"),
         fix="Give it to --adapter; a base is a full checkpoint or a diffusers folder."),
    Kind("a ControlNet",
         ("control_model.", "controlnet_cond_embedding.", "input_hint_block.", "*zero_convs.",
          "controlnet_down_blocks."), fix=FULL),
    Kind("an IP-Adapter", ("image_proj.", "ip_adapter."), fix=FULL),
    Kind("a motion module of AnimateDiff", ("*motion_modules.",), fix=FULL),
    Kind("an embedding (textual inversion)",
         ("emb_params", "string_to_param", "clip_l\n", "clip_g\n"),
         fix="Give it to `kaiffin generate --embedding`; " + FULL[0].lower() + FULL[1:]),
)  # fmt: skip
PARTS = (
    Kind("a VAE alone", ("encoder.conv_in.", "decoder.conv_in.", "first_stage_model."),
         fix="Give it to --base.vae, beside a base."),
    Kind("a text encoder alone",
         ("text_model.", "encoder.block.0.layer.", "vision_model.", "transformer.resblocks.",
          "cond_stage_model.", "conditioner."), fix=FULL),
)  # fmt: skip

# Models of other architectures, in the order in which they are looked for.
ARCHITECTURES = (
    Kind("Stable Cascade", ("clf.1.", "clip_txt_mapper.", "clip_mapper."),
         ("StableCascade", "Wuerstchen")),
    Kind("AuraFlow", ("double_layers.0.attn.w1q.", "joint_transformer_blocks."), ("AuraFlow",)),
    Kind("HunyuanVideo", ("txt_in.individual_token_refiner.",), ("HunyuanVideo",)),
    Kind("Flux 2", ("single_stream_modulation.", "single_stream_modulation_"), ("Flux2",)),
    Kind("Chroma", ("distilled_guidance_layer.",), ("Chroma",)),
    Kind("Flux", ("double_blocks.0.img_attn.norm.", "single_transformer_blocks."), ("Flux",)),
    Kind("Qwen-Image", ("txt_norm.", "transformer_blocks.0.img_mlp."), ("QwenImage",)),
    Kind("SD 3", ("joint_blocks.", "transformer_blocks.0.attn.add_q_proj."),
         ("StableDiffusion3",)),
    Kind("HunyuanDiT", ("mlp_t5.", "text_embedding_padding"), ("HunyuanDiT",)),
    Kind("PixArt", ("t_block.", "pos_embed.proj."), ("PixArt",)),
    Kind("LTX-Video", ("patchify_proj.", "transformer_blocks.0.scale_shift_table"), ("LTX",)),
    Kind("Wan", ("head.modulation", "blocks.0.modulation", "condition_embedder.time_proj."),
         ("Wan",)),
    Kind("Z-Image or Lumina", ("cap_embedder.", "noise_refiner.", "time_caption_embed."),
         ("ZImage", "Lumina")),
    Kind("HiDream", ("caption_projection.0.linear.", "double_stream_blocks."), ("HiDream",)),
    Kind("Sana", ("blocks.0.cross_attn.q_linear.", "caption_norm."), ("Sana",)),
    Kind("Mochi", ("t5_yproj.",), ("Mochi",)),
    Kind("Kandinsky", ("encoder_hid_proj.", "add_embedding.image_", "visual_transformer_blocks."),
         ("Kandinsky", "Kandinsky3", "Kandinsky5")),
    Kind("Kolors", pipelines=("Kolors",)),
    Kind("DeepFloyd IF", pipelines=("IF",)),
)  # fmt: skip

# UNets of the shape of Stable Diffusion's that want something Kaiffin does not give them.
SD2 = Kind("SD 2.x", fix="Its text encoder is OpenCLIP. " + OTHER_MODEL)
REFINER = Kind("the SDXL refiner", fix="Take the SDXL base: a refiner only goes over its pictures.")
INPAINTING = Kind("an inpainting model", fix=PLAIN)
EDITING = Kind("an editing model (InstructPix2Pix and its like)", fix=PLAIN)
DEPTH = Kind("a depth-to-image model", fix=PLAIN)
UPSCALER = Kind("an upscaler", fix=PLAIN)
EDM = Kind("Playground 2.5 or another model of EDM's schedule", ("edm_mean", "edm_std"),
           ("EDM",))  # fmt: skip
COSXL = Kind("CosXL, of a continuous EDM schedule", ("edm_vpred.",))
FLOW = Kind("a model that learns a flow", pipelines=("Flow",))
LCM = Kind(
    "a latent consistency model, which is told the guidance as a number",
    fix="Take the plain checkpoint that it was made of, with the LCM LoRA as --adapter.",
)
PRUNED = Kind(
    "a smaller one, with layers left out (SSD-1B, Vega, KOALA, tiny-sd)",
    fix="Pass its diffusers folder, or put its configurations beside it, into {config}.",
)
UNET_ALONE = Kind(
    "a UNet alone",
    fix="Take the full checkpoint, or put it into the unet/ of a diffusers folder of its kind.",
)
QUANTIZED = Kind(
    "quantised weights",
    fix="Take the version in fp16; `--base.quantize nf4` or int8 saves the memory.",
)

# What the denoiser takes beside the latents, in channels.
EXTRA_CHANNELS = {1: DEPTH, 3: UPSCALER, 4: EDITING, 5: INPAINTING}


@dataclass(frozen=True)
class Distilled:
    """A base that was taught to need few steps. name: how such bases are called, as a pattern;
    schedulers: diffusers' classes that are only for it."""

    title: str
    name: str
    steps: str
    guidance: str = "1 (off)"
    schedulers: tuple[str, ...] = ()

    @property
    def remark(self) -> str:
        """What a person should know before pictures are made with it or it is trained."""
        return (
            f"this base is distilled ({self.title}): it wants {self.steps} steps and guidance"
            f" {self.guidance}, and learns a subject badly. Better train on the plain base that"
            " it was made of, and give its few-step LoRA to --adapter when making pictures"
        )


DISTILLED = (
    Distilled("LCM", r"(?<![a-z])lcm|lcm(?![a-z])", "4 to 8", "1 to 2", ("LCMScheduler",)),
    Distilled("Turbo", r"turbo", "1 to 8", "1 to 2"),
    Distilled("Lightning", r"lightning", "2 to 8, as its name says,"),
    Distilled("Hyper", r"hyper[-_ ]?(sd|xl|\d)|hyper(?![a-z])", "1 to 8", "1 (off)",
              ("TCDScheduler",)),
    Distilled("DMD2", r"(?<![a-z])dmd2?(?![a-z])", "4"),
)  # fmt: skip


def distilled(*names: str, scheduler: str = "") -> Distilled | None:
    """What the names of a base say of few steps: its own, its title, where it is from."""
    text = "\n".join(names).lower()
    found = (d for d in DISTILLED if scheduler in d.schedulers or re.search(d.name, text))
    return next(found, None)


def of_names(names: Iterable[str], kinds: Iterable[Kind]) -> Kind | None:
    """The first of `kinds` that the names of a file's tensors are of."""
    text = "\n" + "".join(f"{name}\n" for name in names)
    for kind in kinds:
        if any(mark[1:] in text if mark[0] == "*" else f"\n{mark}" in text for mark in kind.marks):
            return kind
    return None


def of_class(name: str, kinds: Iterable[Kind]) -> Kind | None:
    """The first of `kinds` that diffusers' class `name` is of; Flux2 is none of Flux."""
    return next(
        (kind for kind in kinds if any(is_of(name, start) for start in kind.pipelines)), None
    )


def is_of(name: str, start: str) -> bool:
    """Whether a class is of the kind that begins so: StableDiffusionImg2ImgPipeline is one of
    StableDiffusion, StableDiffusion3Pipeline is not."""
    return re.match(re.escape(start) + r"(?!\d)", name) is not None


def table() -> list[tuple[str, str, str]]:
    """Every kind: its title, how it is known, what becomes of it. Markdown, by row."""
    rows = [
        ("SD 1.x", "text states of 768", "read"),
        ("SDXL", "text states of 2048, size conditioning", "read"),
        ("v-prediction", "`prediction_type`; `v_pred`, `modelspec.prediction_type`", "read, said"),
        ("zero terminal SNR", "`rescale_betas_zero_snr`; `ztsnr` in a file", "read, said"),
        ("fp8 weights", "their dtype; scales beside them are applied", "cast, said"),
        ("EMA twins", "`model_ema.`", "left out, said"),
    ]
    for one in DISTILLED:
        signs = ["its name, title or origin", *(f"`{name}`" for name in one.schedulers)]
        rows.append((one.title, "; ".join(signs), f"read, said: {one.steps} steps"))
    shapes = [
        (SD2, "text states of 1024"), (REFINER, "text states of 1280"),
        *((kind, f"channels in less out: {more}") for more, kind in EXTRA_CHANNELS.items()),
        (EDM, f"{EDM.known}; its scheduler"), (COSXL, COSXL.known), (FLOW, "its scheduler"),
        (LCM, "`time_cond_proj_dim`; `cond_proj`"), (PRUNED, "layers that are not there"),
        (UNET_ALONE, "no prefix before its names"), (QUANTIZED, "dtypes, `quantization_config`"),
    ]  # fmt: skip
    rows += [(kind.title, known, _refused(kind)) for kind, known in shapes]
    rows += [(kind.title, kind.known, _refused(kind)) for kind in (*ARCHITECTURES, *BESIDE, *PARTS)]
    return rows


def _refused(kind: Kind) -> str:
    fix = kind.fix.replace(OTHER_MODEL, "").replace("{config}", "`<its name>.config`").strip()
    return f"refused by this name. {fix}".strip()


def markdown() -> str:
    """The table for docs/bases.md."""
    lines = ["| kind | how it is known | what becomes of it |", "|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in table())])
