"""Captioners of published architectures, made in a test: BLIP (Li et al. 2022), LLaVA (2023)."""

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


def chatting(folder: Path, words: Sequence[str]) -> None:
    """A model that is asked in a chat, with random weights, that knows these words; saved."""
    import transformers as tf
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    known = ["<pad>", "<unk>", "<s>", "</s>", "<image>", *sorted(set(words))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", pad_token="<pad>", bos_token="<s>",
        eos_token="</s>", additional_special_tokens=["<image>"],
    )  # fmt: skip
    layer = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    vision = tf.CLIPVisionConfig(**layer, image_size=SIDE, patch_size=8, projection_dim=32)
    text = tf.LlamaConfig(**layer, vocab_size=len(known), num_key_value_heads=2, bos_token_id=2,
                          eos_token_id=3, pad_token_id=0)  # fmt: skip
    config = tf.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=4, image_seq_length=16
    )
    torch.manual_seed(0)
    side = {"height": SIDE, "width": SIDE}
    processor = tf.LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=side), tokenizer,
        patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=(
            "{% for one in messages %}{% for part in one.content %}"
            "{{ '<image> ' if part.type == 'image' else part.text }}"
            "{% endfor %}{% endfor %}"
        ),
    )  # fmt: skip
    tf.LlavaForConditionalGeneration(config).eval().save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
