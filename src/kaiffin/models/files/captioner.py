"""A model that says what a picture shows: the user's own, of any kind that transformers reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.folder import expanded
from kaiffin.foundation.runtime import fastest
from kaiffin.foundation.tell import Tell
from kaiffin.models.files import obtain
from kaiffin.models.files.published import source_of
from kaiffin.models.parts import quiet

LONGEST = 60  # tokens of an answer


class NoAnswer(ValueError):
    """What a captioner said is no caption; the message says why."""


class Captioner:
    """One image-to-text model with its processor (BLIP, Florence-2, Qwen-VL, SmolVLM, ...)."""

    def __init__(self, model: str, *, tell: Tell) -> None:
        """model: a folder or hub id in transformers' layout. MissingWeightsError where there is no
        such model."""
        path, source = expanded(model), source_of(model)
        folder = path if path.is_dir() or source is None else obtain.model(source, tell=tell)
        self.device = fastest()
        self.dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        try:
            self.model, self.processor = _loaded(folder, self.dtype)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, ImportError) as error:
            raise MissingWeightsError(
                f"captioner {model!r} cannot be loaded: {str(error).strip().splitlines()[0]}.",
                "Name a folder or hub id of an image-to-text model in transformers' layout, such as"
                " Salesforce/blip-image-captioning-base.",
            ) from None
        self.model.eval().to(self.device)
        self.chats = bool(getattr(self.processor, "chat_template", None))

    def describe(self, image: Image.Image, prompt: str) -> str:
        """What it says of the picture on one line. NoAnswer where that is nothing, the same words
        over and over, or computed from numbers that are none.

        prompt: what it is asked, or, of a model that goes on with a text, how that begins; ""
        leaves such a model alone with the picture.
        """
        inputs = self._asked(image, prompt).to(self.device)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(self.dtype)
        with torch.no_grad(), quiet():
            said = self.model.generate(
                **inputs, max_new_tokens=LONGEST, do_sample=False, logits_processor=[_numbers]
            )[0]
        asked = inputs.get("input_ids")
        if asked is not None and said[: asked.shape[1]].equal(asked[0]):
            said = said[asked.shape[1] :]  # what goes on with its input begins with it
        return _checked(self.processor.decode(said, skip_special_tokens=True))

    def _asked(self, image: Image.Image, prompt: str) -> Any:
        if not self.chats:
            words = {"text": prompt} if prompt else {}
            return self.processor(images=image, return_tensors="pt", **words)
        content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True,
            return_dict=True, return_tensors="pt",
        )  # fmt: skip


def _loaded(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """(model, processor)."""
    with quiet():
        from transformers import AutoModelForImageTextToText, AutoProcessor

        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=dtype,
            output_loading_info=True,
        )  # fmt: skip
        processor: Any = AutoProcessor.from_pretrained(
            str(folder), local_files_only=True, backend="pil"
        )
    model, info = loaded
    if info["missing_keys"]:  # transformers would fill them with noise
        raise ValueError(f"weights are missing, such as {min(info['missing_keys'])}")
    return model, processor


def _numbers(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    if scores.isnan().any():
        raise NoAnswer("the captioner computes numbers that are none (NaN)")
    return scores


def _checked(text: str) -> str:
    text = " ".join(text.split())
    words = text.lower().replace(",", " ").replace(".", " ").split()
    if not any(any(c.isalnum() for c in word) for word in words):
        raise NoAnswer("the captioner says nothing")
    if len(words) > 2 and 3 * len(set(words)) <= len(words):
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise NoAnswer(f"the captioner says the same over and over: {shown}")
    return text
