"""Words that the text tower says too quietly, and what makes them louder."""

import copy
from typing import Any

import pytest
import torch
from transformers import CLIPModel, CLIPTokenizer

from kaiffin.miniature import WEIGHTS
from kaiffin.miniature.build import words
from kaiffin.miniature.build.export import text_encoder
from kaiffin.miniature.world.vocabulary import ACCESSORIES

TOKENIZER = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")


@pytest.fixture(scope="module")
def clip() -> Any:
    return CLIPModel.from_pretrained(WEIGHTS / "clip").float()


def test_the_shipped_clip_hardly_says_bowtie(clip: Any) -> None:
    states = words.said(text_encoder(clip), TOKENIZER)
    assert words.quiet(states) == ["bowtie"]
    texts = words.captions("bowtie")
    assert len(texts) == words.CAPTIONS
    assert all("wearing a bowtie" in text for text in texts)


def test_a_quiet_word_becomes_as_loud_as_its_like(clip: Any) -> None:
    tower = text_encoder(clip)
    before = words.said(tower, TOKENIZER)
    louder = words.loudened(copy.deepcopy(tower), TOKENIZER)
    assert list(louder) == ["bowtie"]
    was = clip.text_model.embeddings.token_embedding.weight.clone()
    after = words.said(words.speak(tower, TOKENIZER, louder), TOKENIZER)
    usual = max(words.loudness(before).values())
    apart = [float(words.apart(after["bowtie"], after[one]).mean()) for one in (*ACCESSORIES, None)]
    del apart[list(ACCESSORIES).index("bowtie")]
    assert min(apart) > 0.9 * usual
    for one in ("scarf", None):  # what says no bowtie is as it was
        torch.testing.assert_close(after[one], before[one])
    assert torch.equal(clip.text_model.embeddings.token_embedding.weight, was), "CLIP keeps its own"
