"""Pieces of words counted without transformers are the same that transformers counts."""

import pytest

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files import pieces
from kaiffin.models.files.facts import read_text_facts

TEXTS = (
    "", "a photo of kaiffin penguin on an icy cliff", "KAIFFIN's  hat, it's 1234!?",
    "don't  stop\n",
    "Zubrików żółć", "cafe\u0301 au lait", "🐧🐧 puffin", "a<|endoftext|>b", "((masterpiece:1.2))",
    "x" * 300, "ein sehr langes Wort: Donaudampfschifffahrt", "\u00a0tab\there",
)  # fmt: skip


@pytest.mark.parametrize("base", ["miniature", "miniature-xl"])
def test_as_transformers_counts(base: str) -> None:
    facts = read_text_facts(base, SILENT)
    for text in TEXTS:
        assert pieces.count(base, text, SILENT) == len(facts.token_pieces(text)), text


def test_a_base_that_is_not_here_is_not_guessed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIFFIN_HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="sdxl"):
        pieces.count("sdxl", "a dog", SILENT)
