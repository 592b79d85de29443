"""Prompts into token blocks, and blocks into hidden states; shared by all CLIP-text families.

A prompt longer than one block of 77 is cut into blocks of 75 tokens, each with its own begin and
end token, encoded alone, and the states are joined: what A1111's users expect of long prompts. As
there, a prompt of theirs is cut behind a comma, where one is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kaiffin.foundation.prompts import Piece, Spoken
from kaiffin.models.words import Words

NEAR = 20  # tokens: so far back a comma is looked for; A1111's default


def num_blocks(words: Words, tokenizer: Any, prompts: Sequence[str | Spoken]) -> int:
    """How many blocks the longest prompt needs, at least 1."""
    return max((len(_blocks(words, tokenizer, prompt)) for prompt in prompts), default=1)


def token_blocks(
    words: Words, tokenizer: Any, prompts: Sequence[str | Spoken], blocks: int
) -> tuple[Tensor, Tensor | None]:
    """Token ids and their weights, (B, blocks, 77) each; what does not fit is cut off.

    None where all weights are 1.
    """
    length = tokenizer.model_max_length
    ids, weights = [], []
    for prompt in prompts:
        found = _blocks(words, tokenizer, prompt)[:blocks]
        for block in [*found, *[[]] * (blocks - len(found))]:
            after = length - len(block) - 2
            ids += [tokenizer.bos_token_id, *(id for id, _ in block), tokenizer.eos_token_id]
            ids += [tokenizer.pad_token_id] * after
            weights += [1.0, *(weight for _, weight in block), 1.0] + [1.0] * after
    shape = (len(prompts), blocks, length)
    is_plain = all(weight == 1 for weight in weights)
    return torch.tensor(ids).view(shape), None if is_plain else torch.tensor(weights).view(shape)


def _blocks(words: Words, tokenizer: Any, prompt: str | Spoken) -> list[list[tuple[int, float]]]:
    """Tokens with their weights, as many a block as there is room for; BREAK begins another, and
    so does a new token of more vectors than there is room for."""
    room = tokenizer.model_max_length - 2
    spoken = Spoken((Piece(prompt),)) if isinstance(prompt, str) else prompt
    comma = tokenizer.convert_tokens_to_ids(",</w>") if spoken.commas else None
    found: list[list[tuple[int, float]]] = [[]]
    for piece in spoken.pieces:
        if piece.text is None:
            found.append([])
        units = words.units(tokenizer, piece.text or "")
        for ids in (unit[at : at + room] for unit in units for at in range(0, len(unit), room)):
            if len(found[-1]) == room:
                found.append([] if ids == [comma] else _behind(comma, found[-1]))
            if len(found[-1]) + len(ids) > room:
                found.append([])
            found[-1] += [(id, piece.weight) for id in ids]
    return found


def places(words: Words, tokenizer: Any, prompt: str | Spoken, wanted: str) -> list[int]:
    """Where in the joined states the tokens of `wanted` stand, all of them, each time in a row."""
    ids = words.ids(tokenizer, wanted)
    found: list[int] = []
    for number, block in enumerate(_blocks(words, tokenizer, prompt)):
        said = [id for id, _ in block]
        for begin in range(len(said) - len(ids) + 1):
            if ids and said[begin : begin + len(ids)] == ids:
                first = number * tokenizer.model_max_length + 1 + begin  # behind the begin token
                found += range(first, first + len(ids))
    return found


def _behind(comma: int | None, block: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Taken out of a full block: what stands behind its last comma, where that is near."""
    places = [place for place, (id, _) in enumerate(block) if id == comma]
    start = places[-1] + 1 if places and len(block) - places[-1] <= NEAR else len(block)
    taken = block[start:]
    del block[start:]
    return taken


def weighted(states: Tensor, weights: Tensor, empty: Tensor, leaning: Sequence[bool]) -> Tensor:
    """states (B, blocks * 77, D) by the weights of their tokens (B, blocks, 77); a block in which
    all are 1 stays as it is.

    As A1111 has it, each state is multiplied, and then the block so that its mean is as before;
    where `leaning`, as ComfyUI has it, it goes away from or towards `empty` (1, 77, D), the states
    of no words.
    """
    blocks = states.view(*weights.shape, -1)
    by = weights.to(states)[..., None]
    louder = blocks * by
    kept = louder * (blocks.mean((2, 3), keepdim=True) / louder.mean((2, 3), keepdim=True))
    leant = empty + (blocks - empty) * by
    which = torch.tensor(leaning, device=states.device).view(-1, 1, 1, 1)
    plain = (by == 1).all(2, keepdim=True)
    return torch.where(plain, blocks, torch.where(which, leant, kept)).view(states.shape)


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
