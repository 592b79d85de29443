"""How many pieces of words a base reads a text in, by its own vocabulary. Torch-free.

The tokenizer is CLIP's as transformers builds it, which alone would take seconds to load.
"""

from __future__ import annotations

import functools
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import Tell
from kaiffin.foundation.text import composed
from kaiffin.models.files import resolve, vocabulary
from kaiffin.models.files.vocabulary import SPECIAL, Vocabulary

# Radford et al. 2021: contractions, words, single digits, runs of anything else.
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def count(base: str, text: str, tell: Tell) -> int:
    """Tokens of `text`, without begin and end. MissingWeightsError where base `base` is not on this
    machine, or has no such vocabulary: no weights are taken for this."""
    if not resolve.is_here(base):
        raise MissingWeightsError(f"base {base!r} is not on this machine.", "Fetch it first.")
    return len(_tokenizer(base, tell).encode(composed(text), add_special_tokens=False).ids)


@functools.lru_cache(maxsize=8)
def _tokenizer(base: str, tell: Tell) -> Tokenizer:
    located = resolve.locate(base, tell=tell)
    with vocabulary.tokenizer_folder(located.configs / "tokenizer", located.path, tell) as folder:
        found = vocabulary.read(Path(folder))
    if found is None:
        raise MissingWeightsError(f"base {base!r} has no vocabulary that can be read.")
    return _built(found)


def _built(words: Vocabulary) -> Tokenizer:
    merges = [(left, right) for left, right in (merge.split() for merge in words.merges if merge)]
    made = Tokenizer(BPE(words.ids, merges, end_of_word_suffix="</w>", unk_token=SPECIAL[1]))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])  # fmt: skip
    made.add_special_tokens(list(SPECIAL))
    return made
