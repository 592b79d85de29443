"""New words of the text towers, apart from what adapters do with them (see test_tokens.py)."""

import pytest
import torch

from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily
from kaiffin.models.words import FIRST_ID, plain_ids


def vectors(family: ModelFamily, count: int = 1, value: float = 1.0) -> dict[str, torch.Tensor]:
    widths = {tower: e.weight.shape[1] for tower, e in family.words.embeddings.items()}
    return {tower: torch.full((count, width), value) for tower, width in widths.items()}


def test_ids_of_new_words_lie_above_every_vocabulary(sd: ModelFamily) -> None:
    words, tokenizer = sd.words, sd.tokenizers["text_encoder"]
    words.add("<a>", vectors(sd, 2))
    words.add("<b>", vectors(sd, 1))
    assert words.ids(tokenizer, "x <b> y <a>") == [
        *plain_ids(tokenizer, "x"), FIRST_ID + 2, *plain_ids(tokenizer, "y"), FIRST_ID,
        FIRST_ID + 1,
    ]  # fmt: skip
    assert words.pieces(tokenizer, "<a>!") == ["<a>", "<a>", "!</w>"]


def test_the_longest_word_wins(sd: ModelFamily) -> None:
    words, tokenizer = sd.words, sd.tokenizers["text_encoder"]
    words.add("kai", vectors(sd))
    words.add("kai fin", vectors(sd))
    assert words.ids(tokenizer, "kai fin kai") == [FIRST_ID + 1, FIRST_ID]
    assert FIRST_ID not in words.ids(tokenizer, "kaiffin")


def test_the_vectors_take_the_places_of_their_tokens(sd: ModelFamily) -> None:
    embedding = sd.words.embeddings["text_encoder"]
    sd.words.add("<a>", vectors(sd, 2, 7.0))
    ids = torch.tensor([[3, FIRST_ID, FIRST_ID + 1, 4]])
    out = embedding(ids)
    assert out[0, 1:3].eq(7).all()
    assert torch.equal(out[0, [0, 3]], embedding.weight[[3, 4]])


def test_a_word_stays_until_all_have_removed_it(sd: ModelFamily) -> None:
    words, tokenizer = sd.words, sd.tokenizers["text_encoder"]
    same = vectors(sd)
    words.add("<a>", same)
    words.add("<A>", same)
    words.remove("<a>")
    assert words.ids(tokenizer, "<a>") == [FIRST_ID]
    words.remove("<a>")
    assert words.ids(tokenizer, "<a>") == plain_ids(tokenizer, "<a>")


def test_one_word_has_one_meaning(sd: ModelFamily) -> None:
    sd.words.add("<a>", vectors(sd))
    with pytest.raises(AdapterError, match="two adapters bring the token"):
        sd.words.add("<A>", vectors(sd, value=2.0))


@pytest.mark.parametrize("added", ["\u00e9t\u00e9", "e\u0301te\u0301"])
def test_a_word_is_the_same_composed_or_not(sd: ModelFamily, added: str) -> None:
    words, tokenizer = sd.words, sd.tokenizers["text_encoder"]
    words.add(added, vectors(sd))
    for typed in ("\u00e9t\u00e9", "e\u0301te\u0301", "\u00c9T\u00c9", "E\u0301te\u0301"):
        assert words.ids(tokenizer, typed) == [FIRST_ID]
        words.add(typed, words.vectors[next(iter(words.vectors))])
        words.remove(typed)
    assert FIRST_ID not in words.ids(tokenizer, "ete \u00e9te")
    with pytest.raises(AdapterError, match="two adapters bring the token"):
        words.add("e\u0301t\u00e9", vectors(sd, value=2.0))
    words.remove("e\u0301t\u00e9")
    assert not words.vectors
