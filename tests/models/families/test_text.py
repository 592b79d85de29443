"""Prompts into blocks of tokens, and their states."""

import pytest
import torch

from kaiffin.models.base import ModelFamily
from kaiffin.models.families.text import canonical, num_blocks, token_blocks

START, END = 512, 513


@pytest.mark.parametrize(("letters", "blocks"), [(0, 1), (75, 1), (76, 2), (150, 2), (151, 3)])
def test_a_block_takes_75_tokens(sd: ModelFamily, letters: int, blocks: int) -> None:
    tokenizer = sd.tokenizers["text_encoder"]
    assert num_blocks(sd.words, tokenizer, ["a" * letters, "a"]) == blocks


def test_each_block_has_its_own_begin_and_end(sd: ModelFamily) -> None:
    tokenizer = sd.tokenizers["text_encoder"]
    ids, _ = token_blocks(sd.words, tokenizer, ["a" * 80, "a"], 2)
    assert ids.shape == (2, 2, 77)
    assert ids[..., 0].eq(START).all()
    assert ids[0, 0, 76] == END
    letters = sd.words.ids(tokenizer, "a" * 80)
    assert ids[0, 0, 1:76].tolist() + ids[0, 1, 1:6].tolist() == letters
    assert ids[0, 1, 6:].eq(END).all()  # the end, and padding that is spelled the same
    assert ids[1, 1, 1:].eq(END).all()


def test_what_does_not_fit_is_cut_off(sd: ModelFamily) -> None:
    tokenizer = sd.tokenizers["text_encoder"]
    two, _ = token_blocks(sd.words, tokenizer, ["a" * 80], 2)
    assert torch.equal(token_blocks(sd.words, tokenizer, ["a" * 80], 1)[0], two[:, :1])


def test_layers_are_named_alike_whatever_transformers_calls_them() -> None:
    wanted = "text_model.encoder.layers.0.mlp.fc1"
    assert canonical("encoder.layers.0.mlp.fc1") == canonical(wanted) == wanted
