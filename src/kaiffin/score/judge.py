"""The models that judge pictures: what they make of a picture and of a text.

A judge is a choice: the miniature's own CLIP, or any folder or hub id with a CLIP or SigLIP
(pictures and texts) or a DINOv2 (pictures alone) in transformers' layout. Cosines of different
models cannot be compared with each other, so every number is named with its judge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from kaiffin.foundation.cache import TensorCache, content_key
from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError, MissingWeightsError
from kaiffin.foundation.folder import expanded
from kaiffin.foundation.runtime import fastest
from kaiffin.foundation.tell import Tell
from kaiffin.models.files import obtain
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.models.files.published import source_of
from kaiffin.models.parts import quiet, revision
from kaiffin.score import measures

MINIATURE = "miniature"
READS_TEXT = {"clip": "CLIP", "siglip": "SigLIP"}
SEES_ONLY = {"dinov2": "DINOv2", "dinov2_with_registers": "DINOv2"}


def judge_of(config: Config) -> str | None:
    """The judge that a config names; for the bases inside Kaiffin the miniature's CLIP, which knows
    their toy world and nothing else; for a real base none."""
    return config.score.judge or (MINIATURE if config.base.name in EMBEDDED else None)


def no_judge(of: object) -> ConfigError:
    """The error where no judge is named and the miniature's would be asked what it never saw."""
    return ConfigError(
        f"no judge is named, and the miniature's knows nothing of {of}.",
        "Give --judge a folder or hub id with a CLIP, such as openai/clip-vit-large-patch14.",
    )


class Scorer:
    """Text-image and image-image similarity by one model."""

    def __init__(
        self, model: str = MINIATURE, device: str = "auto", cache: TensorCache | None = None, *,
        tell: Tell,
    ) -> None:  # fmt: skip
        """model: `miniature`, or a folder or hub id as this module's docstring says.

        cache: keeps what was seen, by content of picture or text and weights of the judge.
        Raises `MissingWeightsError` when there is no such model.
        """
        folder = _folder(model, tell)
        try:
            self.kind, self.model = _load(folder)
            self.process = _processor(folder, self.model.config)
            self.tokenizer = _tokenizer(folder) if self.kind in READS_TEXT else None
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, ImportError) as error:
            raise MissingWeightsError(
                f"scoring model {model!r} cannot be loaded: {str(error).strip().splitlines()[0]}.",
                "Name a folder or hub id with a CLIP, SigLIP or DINOv2 in transformers' layout, or"
                " miniature.",
            ) from None
        self.name = model if model == MINIATURE else folder.name
        self.device = fastest() if device == "auto" else torch.device(device)
        self.model.eval().to(self.device)
        self.cache = cache or TensorCache(None)
        self.key = revision(sorted(folder.glob("*.safetensors")), tell=tell)

    def preprocess(self, image: Image.Image) -> Tensor:
        """(3, side, side): resized, cut and normalised as the model's own processor does."""
        return self.process(image.convert("RGB"), return_tensors="pt").pixel_values[0]

    def embed_images(self, images: Sequence[Image.Image], batch: int = 32) -> Tensor:
        """(N, D) unit vectors, CPU. ValueError without images."""
        if not images:
            raise ValueError("no images to judge")
        keys = [content_key("image", self.key, _content(image)) for image in images]
        return self._rows(keys, images, self._see, batch)

    def embed_texts(self, texts: Sequence[str], batch: int = 32) -> Tensor:
        """(N, D) unit vectors, CPU. Text beyond the encoder's limit is not seen: see `too_long`.

        Raises `MissingWeightsError` for a judge that reads no text.
        """
        if self.tokenizer is None:
            raise MissingWeightsError(
                f"scoring model {self.name!r} sees pictures only and cannot judge prompts.",
                "Name a CLIP or SigLIP with --judge, and this one with --score.identity_judge.",
            )
        keys = [content_key("text", self.key, text) for text in texts]
        return self._rows(keys, texts, self._read, batch)

    def _rows(
        self, keys: Sequence[str], things: Sequence[Any], embed: Callable[[Any], Tensor], batch: int
    ) -> Tensor:
        """A vector for each thing: from the cache, and the missing ones by `embed` in batches."""
        found = {key: self.cache.find(key) for key in keys}
        things_by_key = dict(zip(keys, things, strict=True))
        missing = [key for key, entry in found.items() if entry is None]
        for start in range(0, len(missing), batch):
            part = missing[start : start + batch]
            with torch.no_grad():
                rows = F.normalize(embed([things_by_key[key] for key in part]).float(), dim=-1)
            found |= {k: self.cache.put(k, {"row": r}) for k, r in zip(part, rows, strict=True)}
        return torch.stack([entry["row"] for key in keys if (entry := found[key])])

    def _see(self, images: Sequence[Image.Image]) -> Tensor:
        pixels = torch.stack([self.preprocess(image) for image in images]).to(self.device)
        if self.kind in SEES_ONLY:
            return self.model(pixel_values=pixels).pooler_output  # the class token
        return _tensor(self.model.get_image_features(pixel_values=pixels))

    def _read(self, texts: Sequence[str]) -> Tensor:
        ids = self.tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt",
            max_length=self.max_tokens,
        ).to(self.device)  # fmt: skip
        inputs = {"input_ids": ids.input_ids}
        if self.kind == "clip":  # SigLIP was trained without a mask
            inputs["attention_mask"] = ids.attention_mask
        return _tensor(self.model.get_text_features(**inputs))

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text are judged, with the begin and end tokens (77 in CLIP)."""
        return self.model.config.text_config.max_position_embeddings

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Those of `texts` whose end the judge cannot see."""
        ids = self.tokenizer(list(texts), truncation=False, verbose=False).input_ids
        return [text for text, row in zip(texts, ids, strict=True) if len(row) > self.max_tokens]

    def text_image(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> Tensor:
        """CLIP-T of picture i and prompt i, (N,): see `measures.clip_t`."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images and {len(prompts)} prompts are no pairs")
        return measures.clip_t(self.embed_images(images), self.embed_texts(prompts))

    def image_image(
        self, images: Sequence[Image.Image], references: Sequence[Image.Image]
    ) -> Tensor:
        """CLIP-I to all references, (N,): see `measures.identity`.

        Against the training photos it rewards copying: give photos that were held out.
        """
        rows = self.embed_images(references)
        return measures.identity(self.embed_images(images), rows, held_out=True)

    def likeness_of_references(self, references: Sequence[Image.Image]) -> Tensor:
        """(N,) mean cosine of each reference to all *others*: what real photos reach in CLIP-I.

        Leave-one-out, since a photo's cosine of 1 to itself would flatter the yardstick. Needs at
        least two references.
        """
        if len(references) < 2:
            raise ValueError("one reference has no other to be compared with")
        rows = self.embed_images(references)
        return measures.identity(rows, rows, held_out=False)  # the nearest is itself


def _content(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()


def _load(folder: Path) -> tuple[str, Any]:
    """(model type, model in fp32)."""
    with quiet():
        from transformers import AutoConfig, AutoModel

        kind = AutoConfig.from_pretrained(str(folder), local_files_only=True).model_type
        if kind not in READS_TEXT | SEES_ONLY:
            raise ValueError(f"it is a {kind}")
        loaded: Any = AutoModel.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    model, info = loaded
    if info["missing_keys"]:  # transformers would fill them with noise, and noise would judge
        raise ValueError(f"weights are missing, such as {min(info['missing_keys'])}")
    return kind, model


def _processor(folder: Path, config: Any) -> Any:
    """The model's own image processor; CLIP's usual one for a CLIP that brings none."""
    with quiet():
        from transformers import AutoImageProcessor
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    if (folder / "preprocessor_config.json").is_file():
        return AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, backend="pil")
    if config.model_type != "clip":
        raise ValueError("it has no preprocessor_config.json")
    side = config.vision_config.image_size
    return CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )


def _tokenizer(folder: Path) -> Any:
    """It lies beside the model or, in a pipeline, next door."""
    names = ("vocab.json", "tokenizer.json", "spiece.model")
    beside = any((folder / name).is_file() for name in names)
    place = folder if beside else folder.parent / "tokenizer"
    with quiet():
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(place), local_files_only=True)


def _folder(model: str, tell: Tell) -> Path:
    """Of the miniature's CLIP, a folder, or a hub id's snapshot."""
    if model == MINIATURE:
        from kaiffin.models.files.embedded import WEIGHTS

        return WEIGHTS / "clip"
    path, source = expanded(model), source_of(model)
    return path if path.is_dir() or source is None else obtain.model(source, tell=tell)


def _tensor(output: Any) -> Tensor:
    """transformers 5 returns an output object where 4 returned the tensor."""
    return output if isinstance(output, Tensor) else output.pooler_output
