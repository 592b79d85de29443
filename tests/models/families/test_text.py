"""Prompts into blocks of tokens, and their states."""

import pytest
import torch

from kaiffin.foundation.prompts import Spoken, read, read_as
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.text import canonical, num_blocks, token_blocks, weighted
from kaiffin.models.words import FIRST_ID

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


def test_weights_act_by_block_and_keep_its_mean() -> None:
    """By hand: (2, 4, 6, 8) with the second token doubled is (2, 8, 6, 8), and 20 / 24 of that."""
    states = torch.tensor([2.0, 4.0, 6.0, 8.0, 1.0, 1.0, 1.0, 1.0]).view(1, 8, 1)
    weights = torch.tensor([[[1.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]])
    empty = torch.full((1, 4, 1), 1.0)
    kept = weighted(states, weights, empty, [False]).flatten().tolist()
    assert kept == pytest.approx([2 * 5 / 6, 8 * 5 / 6, 5, 8 * 5 / 6, 1, 1, 1, 1])
    leant = weighted(states, weights, empty, [True]).flatten().tolist()
    assert leant == [2, 7, 6, 8, 1, 1, 1, 1]  # 1 + (4 - 1) * 2


def test_weights_are_of_their_tokens_alone(sd: ModelFamily) -> None:
    tokenizer = sd.tokenizers["text_encoder"]
    ids, weights = token_blocks(sd.words, tokenizer, [Spoken(read("ab (cd:1.5) e").at(1, 1))], 1)
    assert weights is not None
    plain, none = token_blocks(sd.words, tokenizer, ["ab cd e"], 1)
    assert none is None
    assert torch.equal(ids, plain)
    heavy = [id for id, weight in zip(ids[0, 0].tolist(), weights[0, 0].tolist(), strict=True)
             if weight == 1.5]  # fmt: skip
    assert heavy == sd.words.ids(tokenizer, "cd")


def test_break_begins_another_block(sd: ModelFamily) -> None:
    tokenizer = sd.tokenizers["text_encoder"]
    said = Spoken(read("ab BREAK cd").at(1, 1))
    assert num_blocks(sd.words, tokenizer, [said]) == 2
    ids, _ = token_blocks(sd.words, tokenizer, [said], 2)
    for block, text in enumerate(("ab", "cd")):
        alone, _ = token_blocks(sd.words, tokenizer, [text], 1)
        assert torch.equal(ids[0, block], alone[0, 0])


@pytest.mark.parametrize(
    ("before", "after", "syntax", "cut"),
    [
        (60, 30, "a1111", 61),  # behind the comma, 15 tokens back
        (55, 30, "a1111", 56),  # 20 back
        (54, 30, "a1111", 75),  # too far back
        (74, 30, "a1111", 75),  # the comma ends the block
        (75, 30, "a1111", 75),  # the comma begins the next one
        (60, 30, "comfyui", 75), (60, 30, "plain", 75),
    ],
)  # fmt: skip
def test_a_full_block_ends_behind_its_last_comma(
    sd: ModelFamily, before: int, after: int, syntax: str, cut: int
) -> None:
    """As the web UI does it by default; each letter is a token here, and so is the comma."""
    tokenizer = sd.tokenizers["text_encoder"]
    text = f"{'a' * before},{'b' * after}"
    (said,) = read_as(text, syntax).texts(1)
    ids, _ = token_blocks(sd.words, tokenizer, [said], 2)
    letters = sd.words.ids(tokenizer, text)
    assert len(letters) == before + 1 + after
    assert ids[0, 0, 1 : cut + 1].tolist() == letters[:cut]
    assert ids[0, 0, cut + 1 :].eq(END).all()
    assert ids[0, 1, 1 : 1 + len(letters) - cut].tolist() == letters[cut:]


@pytest.mark.parametrize(
    ("before", "vectors", "blocks"),
    [
        (71, 4, [75]),  # there is room for all
        (72, 4, [72, 4]),  # there is not: the word begins the next block
        (60, 80, [60, 75, 5]),  # more than a block holds
    ],
)
def test_the_vectors_of_a_word_stay_together(
    sd: ModelFamily, before: int, vectors: int, blocks: list[int]
) -> None:
    width = sd.words.embeddings["text_encoder"].weight.shape[1]
    sd.words.add("<new>", {"text_encoder": torch.zeros(vectors, width)})
    prompt = f"{'a' * before} <new>"
    ids, _ = token_blocks(sd.words, sd.tokenizers["text_encoder"], [prompt], len(blocks))
    assert ids[0].ne(END).sum(1).tolist() == [1 + count for count in blocks]
    said = ids[ids >= FIRST_ID]
    assert said.tolist() == list(range(FIRST_ID, FIRST_ID + vectors))
    sd.words.remove("<new>")
