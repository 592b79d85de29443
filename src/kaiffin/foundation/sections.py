"""The configuration's sections, field by field, but those of pictures (imaging.py). Torch-free.

A field's `description` is its help text wherever it is shown, and its `flag`, where it has one, the
short name that commands give it beside `--section.field`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from kaiffin.foundation.kinds import KindName
from kaiffin.foundation.schema import FAST_VALUE, MOST, SEEDS, FastName, Strict
from kaiffin.foundation.text import composed


class SubjectConfig(Strict):
    """Who is learnt."""

    token: str = Field(
        "kaiffin",
        min_length=1,
        description="the word that will mean the subject",
        json_schema_extra={"flag": "--subject"},
    )
    noun: str = Field(
        "",
        description='the class noun, such as "puffin", "dog" or "toy"',
        json_schema_extra={"flag": "--class"},
    )
    kind: Literal["character", "pet", "product", "style"] = Field(
        "character", description="what sort of subject: chooses the prompts that judge it"
    )

    @field_validator("token", "noun")
    @classmethod
    def _composed(cls, value: str) -> str:
        return composed(value)

    @property
    def phrase(self) -> str:
        """`kaiffin puffin`: the subject as prompts name it."""
        return f"{self.token} {self.noun}".strip()


class TaughtSubject(SubjectConfig):
    """One of several whom one adapter learns."""

    token: str = Field(min_length=1, description="the word that will mean it, and no other")
    noun: str = Field("", description="its class noun")
    photos: Path | None = Field(None, description="folder with its photos, and no other's")
    prior_weight: float | None = Field(
        None, ge=0, le=10, description="weight of the prior loss; default: data.prior.weight"
    )

    @property
    def itself(self) -> SubjectConfig:
        """Who it is, without its photos."""
        return SubjectConfig(token=self.token, noun=self.noun, kind=self.kind)


class BaseConfig(Strict):
    """Which frozen model is taught."""

    name: str = Field(
        "miniature",
        min_length=1,
        description="miniature, miniature-xl, sd15, sdxl or another short name (see kaiffin bases),"
        " a hub id (ORG/NAME, ORG/NAME@REVISION, ORG/NAME:FILE), a diffusers folder or a"
        " .safetensors checkpoint",
        json_schema_extra={"flag": "--base"},
    )
    vae: str | None = Field(None, description="another VAE: a folder, a file or a hub id")
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="dtype of the frozen base; auto is bf16 on a GPU, fp32 on a CPU"
    )
    device: Literal["auto", "cpu", "cuda", "xpu", "mps"] = Field(
        "auto", description="where to compute"
    )
    quantize: Literal["none", "int8", "nf4"] = Field(
        "none", description="the UNet's linear layers in 8 or 4 bits (extra 8bit)"
    )
    text_device: Literal["auto", "cpu"] = Field(
        "auto", description="where the text encoders are; auto is beside the UNet"
    )
    vae_tiling: bool = Field(False, description="decode large pictures in tiles, for less memory")
    compile: bool = Field(
        False,
        description="let torch compile the UNet's repeated blocks: minutes at first, kept on the"
        " disk, and quicker from then on (docs/performance.md)",
    )


class PriorConfig(Strict):
    """Prior preservation: pictures of the class, made by the base itself."""

    weight: float | None = Field(
        None, ge=0, le=10, description="weight of the prior loss; 0 is off; derived when left out"
    )
    num_images: int = Field(24, ge=1, le=MOST, description="how many class pictures")
    prompt: str | None = Field(
        None,
        description="class prompt; default: the photos' captions, of the noun without the token",
    )
    steps: int = Field(20, ge=1, le=1000, description="sampling steps for class pictures")
    guidance: float = Field(4.0, ge=0, le=100, description="guidance scale for class pictures")
    fast: FastName = Field(
        None,
        description="few steps for class pictures, as sample.fast; off when left out",
        json_schema_extra={"metavar": FAST_VALUE},
    )


class DataConfig(Strict):
    """The photos and how they become examples."""

    photos: Path | None = Field(None, description="folder with the photos")
    format: Literal["auto", "folder", "metadata", "kohya", "flickr30k"] = Field(
        "auto", description="how captions are found; auto looks at the folder"
    )
    resolution: int | None = Field(
        None,
        ge=16,
        le=4096,
        description="pixels of the square side; default: the base's own",
        json_schema_extra={"flag": "--resolution"},
    )
    crop: Literal["square", "bucket"] = Field(
        "square", description="square crops, or aspect-ratio buckets of about equal area"
    )
    upscale: bool = Field(False, description="allow photos smaller than the resolution")
    background: str = Field("#ffffff", description="colour put behind transparent photos")
    template: str = Field(
        "a photo of {token} {noun}", description="caption of photos that have none of their own"
    )
    ignore_captions: bool = Field(False, description="use the template even where captions exist")
    caption_dropout: float = Field(0.0, ge=0, le=1, description="share of empty captions")
    shuffle_tags: bool = Field(
        False,
        description="the tags of a caption, parted by commas, in another order in each variant",
    )
    tag_dropout: float = Field(0.0, ge=0, le=1, description="share of tags that a variant lacks")
    keep_tags: int = Field(
        1, ge=0, le=1000,
        description="tags that stay at the beginning; three bars in a caption say it there",
    )  # fmt: skip
    crops: Literal["fixed", "random"] = Field(
        "fixed", description="random: each variant is cut somewhere else, up to 1.25 times nearer"
    )
    rotate: float = Field(
        0.0, ge=0, le=45, description="most degrees by which a variant is turned, either way"
    )
    variants: int = Field(
        8, ge=1, le=1000,
        description="of a photo and its captions, drawn in turn; each is encoded once and kept",
    )  # fmt: skip
    flip: bool = Field(False, description="mirror half of the draws")
    masks: Literal["none", "alpha", "folder", "auto"] = Field(
        "none",
        description="weight the loss by the photo's alpha, by masks/<name>.png, or (auto) by where"
        " the base hears the class noun in it",
    )
    skip_bad: bool = Field(
        False,
        description="leave out photos and captions that cannot be read (recorded) and go on",
        json_schema_extra={"flag": "--skip-bad"},
    )
    hold_out: int = Field(
        0, ge=0, le=MOST, description="photos that are not trained on, but kept to judge with"
    )
    links: bool = Field(False, description="follow links that lead out of the photos' folder")
    prior: PriorConfig = Field(default_factory=PriorConfig)

    @field_validator("resolution")
    @classmethod
    def _divisible(cls, value: int | None) -> int | None:
        if value is not None and value % 8:
            raise ValueError(f"must be divisible by 8; the nearest is {round(value / 8) * 8}")
        return value


class LayerRule(Strict):
    """Other settings for some layers."""

    layers: str = Field(
        min_length=1,
        description="glob pattern over layer names, such as unet.mid_block.* or text_encoder_2.*",
    )
    rank: int | None = Field(None, ge=1, le=1024, description="rank there")
    alpha: float | None = Field(None, gt=0, description="alpha there; default: in proportion")
    lr: float | None = Field(None, ge=0, le=1, description="learning rate there; 0 freezes")
    skip: bool = Field(False, description="these layers get no adapter")


class AdapterConfig(Strict):
    """What is trained."""

    kind: KindName = Field("lora", description="the kind of adapter; see docs/adapters.md")
    targets: str | None = Field(
        None,
        description="attention, attention+ff or all-linear, each also with +conv; or"
        " comma-separated glob patterns over module paths; derived when left out",
    )
    rank: int | None = Field(
        None, ge=1, le=1024, description="rank (oft: block size); derived when left out"
    )
    alpha: float | None = Field(None, gt=0, description="alpha; default: equal to the rank")
    min_rank: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="ranks that act at every timestep of the UNet; the others join as the noise"
        " falls (T-LoRA; lora and rslora); all act at every timestep when left out",
    )
    rank_power: float = Field(
        1.0, gt=0, le=10, description="how late they join: (1 - t / T) to this power of them act"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="drop-out on the adapter's input")
    text_encoder: bool = Field(False, description="train an adapter in the text encoder(s) as well")
    text_targets: str | None = Field(
        None, description="targets there; default: as in the UNet, without +conv"
    )
    text_rank: int | None = Field(None, ge=1, le=1024, description="rank there; default: rank")
    text_alpha: float | None = Field(
        None, gt=0, description="alpha there; default: in proportion to the rank"
    )
    rules: tuple[LayerRule, ...] = Field(
        (), description="other ranks, alphas and rates for some layers; the first that fits counts"
    )
    init_from: Path | None = Field(
        None, description="go on from this adapter: a file of any layout, or a PEFT folder"
    )
    layouts: tuple[Literal["peft", "diffusers"], ...] = Field(
        (), description="layouts that are written as well, beside the file in kohya's"
    )


class EmbeddingConfig(Strict):
    """The subject's word as a new token of the text encoder(s) (Gal et al. 2022, 2208.01618)."""

    vectors: int = Field(
        0, ge=0, le=64, description="vectors of the new token; 0 leaves subject.token a plain word"
    )
    init: str | None = Field(
        None, min_length=1, description="words whose vectors it starts from; default: the noun"
    )
    train: Literal["together", "first", "alone", "frozen"] = Field(
        "together",
        description="with the adapter; first, then the adapter (pivotal tuning); alone (textual"
        " inversion); or not at all",
    )
    steps: int | None = Field(
        None, ge=1, le=MOST, description="its steps where it is trained first; default: train.steps"
    )
    lr: float | None = Field(
        None, gt=0, le=1, description="its learning rate; derived when left out"
    )


class PhaseConfig(Strict):
    """One of several trainings in a row."""

    name: str = Field(
        min_length=1, max_length=40, pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="what its files are called: small letters, digits and -",
    )  # fmt: skip
    photos: Path | None = Field(None, description="folder with its photos; default: data.photos")
    train: tuple[Literal["unet", "text_encoder", "embedding"], ...] | None = Field(
        None, min_length=1, description="what it trains; the rest is frozen; default: everything"
    )
    own_adapter: bool = Field(
        False,
        description="it trains an adapter of its own on top of the earlier ones, which are frozen",
    )
    steps: int | None = Field(None, ge=1, le=MOST, description="default: train.steps")
    lr: float | None = Field(None, gt=0, le=1, description="default: train.lr")
    text_lr: float | None = Field(None, gt=0, le=1, description="default: train.text_lr")
    embedding_lr: float | None = Field(None, gt=0, le=1, description="default: embedding.lr")


class ObjectiveConfig(Strict):
    """The loss. The prediction type (eps or v) is the base's own."""

    loss: Literal["mse", "l1", "huber"] = Field("mse", description="distance")
    huber_delta: float = Field(0.1, gt=0, description="where Huber turns from square to linear")
    min_snr_gamma: float | None = Field(
        None, gt=0, description="min-SNR weight (Hang et al. 2023); 5 is usual; off when left out"
    )
    noise_offset: float = Field(0.0, ge=0, le=1, description="per-channel offset of the noise")
    keep: float | None = Field(
        None,
        ge=0,
        le=100,
        description="weight of the prior without pictures: under captions of the class the adapted"
        " model is held to the base's own prediction; derived when left out",
    )
    keep_share: float = Field(
        0.25, gt=0, le=1, description="share of the steps in which it is held to it"
    )
    dco_beta: float | None = Field(
        None,
        gt=0,
        description="DCO: be better than the base on the same noise, and no more (Lee et al. 2024);"
        " 1000 is usual; off when left out",
    )
    timesteps: Literal["uniform", "logit-normal", "falling"] = Field(
        "uniform", description="which timesteps are drawn; falling: where the loss still falls"
    )
    antithetic: bool = Field(
        False, description="draw timesteps in pairs, as far from one end as from the other"
    )


class TrainConfig(Strict):
    """The training loop."""

    steps: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description="optimizer steps; derived when left out",
        json_schema_extra={"flag": "--steps"},
    )
    batch_size: int | None = Field(None, ge=1, le=MOST, description="photos of one batch")
    noises: int = Field(
        1, ge=1, le=64, description="noised copies of each photo of a batch, which grows by as many"
    )
    accumulate: int = Field(1, ge=1, le=MOST, description="batches summed up for a step")
    lr: float | None = Field(None, gt=0, le=1, description="learning rate of the UNet's adapter")
    text_lr: float | None = Field(
        None, gt=0, le=1, description="rate in the text encoder(s); default: lr / 2"
    )
    lora_plus: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="LoRA+: the up matrices learn so many times faster; 16 is usual",
    )
    optimizer: Literal[
        "adamw", "adamw8bit", "adafactor", "lion", "prodigy", "schedulefree", "muon"
    ] = Field("adamw", description="optimizer; the default rate follows it")
    ema: float | None = Field(
        None, gt=0, lt=1, description="keep a moving average of the adapter, such as 0.99"
    )
    schedule: Literal["constant", "linear", "cosine"] | None = Field(
        None, description="of the rate; default: cosine, for schedulefree constant"
    )
    warmup: int = Field(0, ge=0, le=MOST, description="steps of linear warm-up")
    betas: tuple[float, float] = Field((0.9, 0.999), description="Adam's betas, where it has them")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay")
    clip: float = Field(1.0, gt=0, description="gradient norm is clipped to this")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="autocast dtype of the step; auto follows the base's dtype"
    )
    gradient_checkpointing: bool = Field(False, description="less memory, about a third slower")
    fit_memory: bool = Field(
        False, description="where memory is short, take what the plan proposes, and say so"
    )
    seed: int = Field(
        0,
        ge=0,
        lt=SEEDS,
        description="seed of every random draw",
        json_schema_extra={"flag": "--seed"},
    )
    checkpoint_every: int = Field(100, ge=1, le=MOST, description="steps between checkpoints")
    keep: int = Field(3, ge=1, le=MOST, description="how many of the newest checkpoints are kept")
    validate_every: int | None = Field(
        None, ge=1, le=MOST,
        description="steps between losses on the photos of data.hold_out, at the same noises; off"
        " when left out",
    )  # fmt: skip
    tensorboard: bool = Field(True, description="write TensorBoard logs into the run")
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)

    @field_validator("betas")
    @classmethod
    def _decaying(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in value):
            raise ValueError("must be from 0 to below 1, both")
        return value
