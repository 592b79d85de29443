"""Every choice of a build of the miniature, and the measured settings of its stages. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from kaiffin.foundation.schema import Strict
from kaiffin.models.files.embedded import FAST

if TYPE_CHECKING:
    import torch

Stage = Literal[
    "render", "clip", "vae", "towers", "words", "latents", "unet", "second", "sized", "twin",
    "grow", "export", "fast", "fast_twin", "report",
]  # fmt: skip
CHECKPOINT, LOSSES = "checkpoint.safetensors", "losses.tsv"  # in a stage's folder


@dataclass(frozen=True)
class Plan:
    """How one network is trained. The schedule counts samples, so the batch may be chosen freely.

    batch: pictures a step, over all workers. warmup: samples of linear warm-up.
    samples: stop here, decayed; None trains until the deadline, whose last `decay_share` of the
    time from the start is spent on the cosine decay.
    """

    lr: float
    batch: int
    warmup: int
    budget_s: float
    samples: int | None = None
    decay_share: float = 0.4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    ema: float = 0.999
    clip_norm: float = 1.0


class BuildConfig(Strict):
    """Every choice of a build. `*_samples` None means: until `*_minutes` are over."""

    out: Path = Field(
        Path("build/miniature"), description="working folder; a second call goes on in it"
    )
    weights: Path | None = Field(
        None, description="folder for the base model (default: OUT/weights)"
    )
    weights_xl: Path | None = Field(
        None, description="folder for its XL twin (default: OUT/weights-xl)"
    )
    begin: Path | None = Field(
        None, description="a miniature whose networks learn on, in the place of fresh ones"
    )
    begin_twin: Path | None = Field(
        None, description="its XL twin, which gets what the UNet learns and learns on"
    )
    docs: Path | None = Field(None, description="where the report goes (default: OUT)")
    photos: Path | None = Field(None, description="real photos, for the report on the VAE")
    seed: int = Field(1, description="the world and every draw are a function of it")
    pictures: int = Field(60_000, description="pictures to render")
    workers: int = Field(
        2, description="processes of one thread each, to render and, on a CPU, to train"
    )
    device: str = Field("auto", description="auto, cpu or cuda")
    clip_minutes: float = Field(14.0, description="training time of the CLIP")
    vae_minutes: float = Field(60.0, description="training time of the VAE")
    unet_minutes: float = Field(60.0, description="training time of the UNet")
    second_minutes: float = Field(10.0, description="training time of the twin's second text tower")
    twin_minutes: float = Field(60.0, description="training time of the twin's UNet")
    fast_minutes: float = Field(30.0, description="training time of the few-step adapter")
    fast_twin_minutes: float = Field(30.0, description="training time of the twin's")
    grow_minutes: float = Field(60.0, description="training time of the VAE at twice the pixels")
    clip_samples: int | None = Field(None, description="train on so many samples instead")
    vae_samples: int | None = Field(None, description="train on so many samples instead")
    unet_samples: int | None = Field(None, description="train on so many samples instead")
    second_samples: int | None = Field(None, description="train on so many samples instead")
    twin_samples: int | None = Field(None, description="train on so many samples instead")
    fast_samples: int | None = Field(None, description="train on so many samples instead")
    fast_twin_samples: int | None = Field(None, description="train on so many samples instead")
    clip_batch: int = Field(256, description="samples a step, over all workers; both text towers")
    vae_batch: int = Field(16, description="samples a step, over all workers")
    unet_batch: int = Field(64, description="samples a step, over all workers; both UNets")
    fast_batch: int = Field(16, description="samples a step, over all workers; both adapters")
    grow_samples: int | None = Field(None, description="train on so many samples instead")
    grow_batch: int = Field(8, description="samples a step, over all workers")
    grow_pictures: int = Field(12_000, description="pictures to render at twice the pixels")
    grow_sharp: int = Field(
        20_000, description="samples of the grown VAE after which a critic makes it draw sharply"
    )
    vae_channels: tuple[int, ...] = Field((16, 32, 64, 96), description="width of each level")
    unet_channels: tuple[int, ...] = Field((96, 160), description="width of each level")
    save_seconds: float = Field(60.0, description="time between checkpoints")
    preview_minutes: float = Field(5.0, description="time between sheets of pictures")

    def begin_with(self, stage: str) -> Path | None:
        """The miniature, or the twin, whose network a stage learns on from."""
        return self.begin_twin if stage in ("second", "twin", "fast_twin") else self.begin

    @property
    def weights_folder(self) -> Path:
        return self.weights or self.out / "weights"

    @property
    def twin_folder(self) -> Path:
        return self.weights_xl or self.out / "weights-xl"

    @property
    def docs_folder(self) -> Path:
        return self.docs or self.out

    def fast_adapter(self, stage: str) -> Path:
        """Where the few-step adapter of `fast` or `fast_twin` goes: beside the base it is for."""
        folder = self.weights_folder if stage == "fast" else self.twin_folder
        return folder / FAST

    # --- what a build leaves in `out`; a folder for each network --------------------------------

    @property
    def pool(self) -> Path:
        """The pictures, (N, SIZE, SIZE, 3) uint8."""
        return self.out / "pool.npy"

    @property
    def large_pool(self) -> Path:
        """The same world at twice the pixels."""
        return self.out / "pool_large.npy"

    @property
    def latents(self) -> Path:
        return self.out / "latents.npy"

    @property
    def latents_sized(self) -> Path:
        """The same for the twin: some pictures from another size, some cut out."""
        return self.out / "latents_sized.npy"

    @property
    def whitened(self) -> Path:
        """The VAE as it is shipped."""
        return self.out / "vae" / "whitened.safetensors"

    @property
    def words(self) -> Path:
        """Embeddings of words that the text tower says louder than CLIP's."""
        return self.out / "words.safetensors"

    @property
    def judge(self) -> Path:
        """The net that judges and is not shipped."""
        return self.out / "judge.safetensors"

    def checkpoint(self, stage: str) -> Path:
        return self.out / stage / CHECKPOINT

    def done(self, stage: str) -> Path:
        """A note, once a network is trained: its samples and seconds."""
        return self.out / stage / "done"

    # --------------------------------------------------------------------------------------------

    @property
    def torch_device(self) -> torch.device:
        import torch

        from kaiffin.foundation.runtime import fastest

        if self.device != "auto":
            return torch.device(self.device)
        found = fastest()
        return torch.device("cpu") if found.type == "mps" else found  # nobody has built on one

    @property
    def trainers(self) -> int:
        """Processes that train a network together; a GPU is one's own."""
        return self.workers if self.torch_device.type == "cpu" else 1

    def plan(self, stage: str) -> Plan:
        """The measured settings of a stage; see docs/miniature.md."""
        budget = getattr(self, f"{stage}_minutes") * 60
        samples = getattr(self, f"{stage}_samples")
        if stage in ("clip", "second"):
            return Plan(
                1.5e-3,
                self.clip_batch,
                25_600,
                budget,
                samples,
                decay_share=0.6,
                betas=(0.9, 0.98),
                weight_decay=0.02,
                ema=0.99,
            )
        if stage == "vae" and self.begin:
            return Plan(5e-4, self.vae_batch, 1_600, budget, samples, weight_decay=0.001, ema=0.998)
        if stage == "vae":
            return Plan(
                2e-3,
                self.vae_batch,
                1_600,
                budget,
                samples,
                decay_share=0.5,
                weight_decay=0.001,
                ema=0.995,
            )
        if stage.startswith("fast"):
            return Plan(1e-3, self.fast_batch, 1_600, budget, samples, weight_decay=0.0, ema=0.99)
        if stage == "grow":
            return Plan(
                1e-3, self.grow_batch, 1_600, budget, samples, weight_decay=0.001, ema=0.998
            )
        if self.begin_with(stage):  # it knows nearly all, and the whole rate would shake that
            return Plan(5e-4, self.unet_batch, 6_400, budget, samples, decay_share=0.7, ema=0.998)
        share = 0.3 if stage == "unet" else 0.6  # the twin begins where the miniature's UNet ended
        return Plan(1e-3, self.unet_batch, 6_400, budget, samples, decay_share=share, ema=0.998)
