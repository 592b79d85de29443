"""Prompts into token blocks, and blocks into hidden states; shared by all CLIP-text families.

A prompt longer than one block of 77 is cut into blocks of 75 tokens, each with its own begin and
end token, encoded alone, and the states are joined: what A1111's users expect of long prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kaiffin.models.words import Words


def num_blocks(words: Words, tokenizer: Any, prompts: Sequence[str]) -> int:
    """How many blocks the longest prompt needs, at least 1."""
    room = tokenizer.model_max_length - 2
    longest = max((len(words.ids(tokenizer, prompt)) for prompt in prompts), default=0)
    return max(1, -(-longest // room))


def token_blocks(words: Words, tokenizer: Any, prompts: Sequence[str], blocks: int) -> Tensor:
    """(B, blocks, 77) token ids; what does not fit into `blocks` is cut off."""
    length = tokenizer.model_max_length
    room = length - 2
    rows = []
    for prompt in prompts:
        ids = words.ids(tokenizer, prompt)
        for block in range(blocks):
            part = ids[block * room : (block + 1) * room]
            row = [tokenizer.bos_token_id, *part, tokenizer.eos_token_id]
            rows.append(row + [tokenizer.pad_token_id] * (length - len(row)))
    return torch.tensor(rows).view(len(prompts), blocks, length)


def hidden_states(encoder: Any, ids: Tensor, skip: int, final_norm: bool) -> Any:
    """Runs a CLIP text model on ids (B, blocks, 77).

    skip: 0 takes the last layer's states, 1 the one before, ...; final_norm applies the model's
    last layer norm to them (SD 1.x does, SDXL does not).
    Returns (states (B, blocks * 77, D), pooled projection of the first block or None).
    """
    batch, blocks, length = ids.shape
    ids = ids.to(next(encoder.parameters()).device)
    output = encoder(ids.flatten(0, 1), output_hidden_states=True)
    states = output.hidden_states[-(skip + 1)]
    if final_norm:
        inner = getattr(encoder, "text_model", encoder)
        states = inner.final_layer_norm(states)
    pooled = getattr(output, "text_embeds", None)
    if pooled is not None:
        pooled = pooled.view(batch, blocks, -1)[:, 0]
    return states.reshape(batch, blocks * length, -1), pooled


def canonical(path: str) -> str:
    """The published name of a text-encoder module: with `text_model.`, whatever transformers says.

    transformers 5.6 dropped that child from CLIPTextModel but not from the projection variant.
    """
    return f"text_model.{path.removeprefix('text_model.')}"
