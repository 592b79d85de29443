"""Scores of pictures by a CLIP model, each named with the model that judged.

The model is a choice: the miniature's own CLIP, or any folder with a transformers CLIP. Cosines of
different models cannot be compared with each other, and a single number says little: read each
beside what real photos and the untaught base reach, and compare pictures in pairs (same prompt,
same seed).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from kaiffin.errors import MissingWeightsError
from kaiffin.models.parts import quiet

MINIATURE = "miniature"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's CLIP, when a folder names none
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval. n: number of values."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"


class Scorer:
    """Text-image and image-image similarity by one CLIP model."""

    def __init__(self, model: str = MINIATURE, device: str = "cpu") -> None:
        """model: `miniature` or a folder with a transformers CLIP model and tokenizer.

        Raises `MissingWeightsError` when the folder holds none.
        """
        folder = _folder(model)
        try:
            self.clip, self.tokenizer = _load(folder)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise MissingWeightsError(
                f"scoring model {model!r} cannot be loaded: {error}.",
                "Name a folder with a CLIP model in transformers' layout, or miniature.",
            ) from None
        self.name = model if model == MINIATURE else folder.name
        self.device = torch.device(device)
        self.clip.eval().to(self.device)
        self._read_processor(folder)

    def _read_processor(self, folder: Path) -> None:
        path = folder / "preprocessor_config.json"
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.mean = torch.tensor(config.get("image_mean", CLIP_MEAN)).view(3, 1, 1)
        self.std = torch.tensor(config.get("image_std", CLIP_STD)).view(3, 1, 1)
        self.side = self.clip.config.vision_config.image_size

    def preprocess(self, image: Image.Image) -> Tensor:
        """(3, side, side): shortest side resized (bicubic), middle cut out, normalised."""
        image = image.convert("RGB")
        short = min(image.size)
        width, height = (max(self.side, int(s * self.side / short)) for s in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - self.side) // 2, (height - self.side) // 2
        image = image.crop((left, top, left + self.side, top + self.side))
        pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255).permute(2, 0, 1)
        return (pixels - self.mean) / self.std

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image], batch: int = 32) -> Tensor:
        """(N, D) unit vectors, CPU. ValueError without images."""
        if not images:
            raise ValueError("no images to judge")
        rows = []
        for start in range(0, len(images), batch):
            pixels = torch.stack([self.preprocess(i) for i in images[start : start + batch]])
            rows.append(_tensor(self.clip.get_image_features(pixel_values=pixels.to(self.device))))
        return F.normalize(torch.cat(rows).float(), dim=-1).cpu()

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """(N, D) unit vectors, CPU. Text beyond the encoder's limit is not seen: see `too_long`."""
        ids = self.tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt",
            max_length=self.max_tokens,
        ).to(self.device)  # fmt: skip
        features = self.clip.get_text_features(
            input_ids=ids.input_ids, attention_mask=ids.attention_mask
        )
        return F.normalize(_tensor(features).float(), dim=-1).cpu()

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text are judged, with the begin and end tokens (77 in CLIP)."""
        return self.clip.config.text_config.max_position_embeddings

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Those of `texts` whose end the judge cannot see."""
        ids = self.tokenizer(list(texts), truncation=False, verbose=False).input_ids
        return [text for text, row in zip(texts, ids, strict=True) if len(row) > self.max_tokens]

    def text_image(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """CLIP-T: (N,) cosines in [-1, 1] of picture i and prompt i (Hessel et al. 2021).

        `cos(E_image(picture), E_text(prompt))`; unrelated pairs are not at 0. Sees what CLIP sees:
        scenes and kinds of things, not whether it is *this* subject, nor counts, nor anatomy. A
        trigger word means nothing to it: judge against a plain description of the prompt.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images and {len(prompts)} prompts are no pairs")
        distinct = list(dict.fromkeys(prompts))
        texts = self.embed_texts(distinct)[[distinct.index(prompt) for prompt in prompts]]
        return (self.embed_images(images) * texts).sum(-1)

    def image_image(
        self, images: Sequence[Image.Image], references: Sequence[Image.Image]
    ) -> Tensor:
        """CLIP-I: (N,) mean cosine to all references (Ruiz et al. 2022).

        In [-1, 1]. Against the training photos it rewards copying: give photos that were held out.
        Background counts too: read it beside `likeness_of_references` and class pictures.
        """
        return (self.embed_images(images) @ self.embed_images(references).T).mean(-1)

    def likeness_of_references(self, references: Sequence[Image.Image]) -> Tensor:
        """(N,) mean cosine of each reference to all *others*: what real photos reach in CLIP-I.

        Leave-one-out, since a photo's cosine of 1 to itself would flatter the yardstick. Needs at
        least two references.
        """
        if len(references) < 2:
            raise ValueError("one reference has no other to be compared with")
        rows = self.embed_images(references)
        cosines = rows @ rows.T
        return (cosines.sum(-1) - cosines.diagonal()) / (len(references) - 1)


def bootstrap(values: Sequence[float], *, seed: int = 0, draws: int = 2000) -> Interval:
    """Mean with its 95 % percentile bootstrap interval (Efron 1979).

    It knows only the spread of `values`, taken as independent; below about ten it is too narrow.
    Raises ValueError when there are none, or one is not finite.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("no values to average")
    if not np.isfinite(data).all():
        raise ValueError("a value is not finite")
    rng = np.random.default_rng(seed)
    means = data[rng.integers(0, data.size, (draws, data.size))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(data.mean()), float(low), float(high), int(data.size))


def paired(before: Sequence[float], after: Sequence[float], *, seed: int = 0) -> Interval:
    """Interval of the mean of `after[i] - before[i]`: same prompt and seed, two models.

    The spread between prompts cancels, so it is far narrower than two intervals side by side.
    """
    differences = [b - a for a, b in zip(before, after, strict=True)]
    return bootstrap(differences, seed=seed)


def rank(scores: Sequence[float]) -> list[int]:
    """Places of `scores` from the highest to the lowest; equal ones keep their order."""
    if not all(math.isfinite(score) for score in scores):
        raise ValueError("a score is not finite")
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def _load(folder: Path) -> tuple[Any, Any]:
    """CLIP model in fp32 and its tokenizer, which lies beside it or, in a pipeline, next door."""
    from transformers import CLIPModel, CLIPTokenizer

    with quiet():
        loaded: Any = CLIPModel.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
        clip, info = loaded
        if info["missing_keys"]:  # transformers would fill them with noise, and noise would judge
            raise ValueError(f"weights are missing, such as {min(info['missing_keys'])}")
        is_beside = any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json"))
        tokenizer = CLIPTokenizer.from_pretrained(
            str(folder if is_beside else folder.parent / "tokenizer"), local_files_only=True
        )
    return clip, tokenizer


def _folder(model: str) -> Path:
    if model == MINIATURE:
        from kaiffin.miniature import WEIGHTS

        return WEIGHTS / "clip"
    return Path(model)


def _tensor(output: Any) -> Tensor:
    """transformers 5 returns an output object where 4 returned the tensor."""
    return output if isinstance(output, Tensor) else output.pooler_output
