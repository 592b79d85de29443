"""A captioner of a published architecture (BLIP, Li et al. 2022), made in a test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

SIDE = 32
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def captioner(folder: Path, words: Sequence[str]) -> tuple[Any, Any]:
    """A model with random weights that knows these words, and its processor; both saved."""
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
    from transformers.models.blip.processing_blip import BlipProcessor

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*SPECIAL, *sorted(set(words))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    ids = {name: vocabulary.index(token) for name, token in
           (("pad_token_id", "[PAD]"), ("bos_token_id", "[CLS]"), ("eos_token_id", "[SEP]"),
            ("sep_token_id", "[SEP]"))}  # fmt: skip
    layer = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    config = BlipConfig(
        text_config={**layer, **ids, "vocab_size": len(vocabulary), "max_position_embeddings": 32,
                     "encoder_hidden_size": 32, "label_smoothing": 0.0,
                     "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        vision_config={**layer, "image_size": SIDE, "patch_size": 8},
        projection_dim=32,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(config).eval()
    processor = BlipProcessor(
        BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}), tokenizer
    )
    model.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
    return model, processor


def taught(folder: Path, pairs: Sequence[tuple[Image.Image, str]], steps: int = 120) -> None:
    """The same, trained to say these texts of these pictures."""
    model, processor = captioner(folder, [w for _, text in pairs for w in text.split()])
    pixels = processor(images=[image for image, _ in pairs], return_tensors="pt").pixel_values
    told = processor.tokenizer([text for _, text in pairs], padding=True, return_tensors="pt")
    labels = told.input_ids.masked_fill(told.attention_mask == 0, -100)
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=3e-3)
    for step in range(steps):
        some = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(step))[:24]
        loss = model(
            pixel_values=pixels[some], input_ids=told.input_ids[some],
            attention_mask=told.attention_mask[some], labels=labels[some],
        ).loss  # fmt: skip
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(str(folder))
