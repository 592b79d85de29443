"""Words that CLIP hardly says, made as loud as their like before the UNet learns to read.

CLIP learns of a word what tells pictures apart, and of a bowtie there are few pixels among 64 x 64:
what its text tower said behind "wearing a bowtie" was nearly what it says of no accessory. So the
UNet, which reads the tower, learnt by heart which animals wear one, and drew it in a fifth of the
pictures that asked for it. Here the embedding of a quiet word moves, and nothing else (Gal et al.
2022, arXiv 2208.01618, teach a base a word so), until the tower says it as distinctly as the
others. CLIP keeps its own embedding, as it was learnt with pictures.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from kaiffin.miniature.build import stages
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import ACCESSORIES

CAPTIONS = 96  # that are said with each accessory, and with none
BEHIND = slice(24, 77)  # the positions behind every caption
QUIET = 0.75  # a word changes what is said less than so much of what its like do
BATCH, STEPS, RATE = 16, 200, 1e-3

Said = Mapping[str | None, Tensor]  # by accessory, what is said behind the captions; (N, T, C)


def captions(accessory: str | None) -> list[str]:
    """The same sentences with an accessory or none."""
    specs = (world.random_spec(5, index) for index in range(2 * CAPTIONS))
    known = [spec for spec in specs if spec.species is not None][:CAPTIONS]
    return [world.full_caption(replace(spec, accessory=accessory)) for spec in known]


@torch.no_grad()
def said(tower: Any, tokenizer: CLIPTokenizer) -> Said:
    """What the tower says of the captions, by accessory."""
    tokens = {one: stages.tokenize(tokenizer, captions(one)) for one in (*ACCESSORIES, None)}
    return {one: behind(tower, ids.to(tower.device)) for one, ids in tokens.items()}


def behind(tower: Any, tokens: Tensor) -> Tensor:
    return tower(input_ids=tokens).last_hidden_state[:, BEHIND]


def apart(one: Tensor, other: Tensor) -> Tensor:
    """Distance of what is said of each caption, (N,)."""
    return (one - other).square().sum((1, 2)).sqrt()


def loudness(states: Said) -> dict[str, float]:
    """How far each accessory is from none, in the mean over the captions."""
    none = states[None]
    return {word: float(apart(states[word], none).mean()) for word in ACCESSORIES}


def quiet(states: Said) -> list[str]:
    """Accessories that change what is said much less than their like."""
    found = loudness(states)
    usual = torch.tensor(list(found.values())).median()
    return [word for word, distance in found.items() if distance < QUIET * usual]


def loudened(tower: Any, tokenizer: CLIPTokenizer) -> dict[str, Tensor]:
    """{word: (C,)}: embeddings by which the quiet accessories are as far from none, and from each
    other accessory, as the loudest is from none. `tower` is a copy that may be changed."""
    states = said(tower, tokenizer)
    goal = max(loudness(states).values())
    return {word: _louder(tower, tokenizer, word, states, goal) for word in quiet(states)}


def _louder(tower: Any, tokenizer: CLIPTokenizer, word: str, states: Said, goal: float) -> Tensor:
    tokens = stages.tokenize(tokenizer, captions(word)).to(tower.device)
    row = int(tokenizer(word).input_ids[1])
    others = [value for name, value in states.items() if name != word]
    table = tower.get_input_embeddings().weight.requires_grad_(True)
    optimizer = torch.optim.Adam([table], RATE)
    draws = torch.Generator().manual_seed(row)
    for _ in range(STEPS):
        picks = torch.randperm(CAPTIONS, generator=draws)[:BATCH]
        here = behind(tower, tokens[picks])
        distances = torch.stack([apart(here, other[picks]) for other in others])
        if distances.mean(1).min() > goal:
            break
        optimizer.zero_grad()
        torch.logsumexp(-distances / 2, 0).mean().backward()  # pushes from the nearest
        kept = table.grad[row].clone()
        table.grad.zero_()
        table.grad[row] = kept
        optimizer.step()
    return table[row].detach().cpu().clone()


@torch.no_grad()
def speak(tower: Any, tokenizer: CLIPTokenizer, louder: Mapping[str, Tensor]) -> Any:
    """`tower` with the embeddings of `loudened`, in a table of its own."""
    table = torch.nn.Parameter(tower.get_input_embeddings().weight.clone(), requires_grad=False)
    for word, vector in louder.items():
        table[int(tokenizer(word).input_ids[1])] = vector.to(table)
    tower.get_input_embeddings().weight = table
    return tower
