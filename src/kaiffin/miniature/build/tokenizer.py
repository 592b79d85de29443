"""A byte-level BPE of our own, in the two files that `transformers.CLIPTokenizer` reads.

Merges are learnt from the words of the world alone, until each is a single token. Any other word
falls into pieces that never equal a known word, so a made-up name stays a name.
"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from kaiffin.foundation.folder import write_folder
from kaiffin.miniature.world import world
from kaiffin.miniature.world.vocabulary import ACCESSORIES, COLOURS, POSES, SCENES, SPECIES, TIMES

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
MAX_LENGTH = 77

EXTRA_WORDS = (
    "and",
    "with",
    "of",
    "my",
    "one",
    "toy",
    "plush",
    "photo",
    "picture",
    "image",
    "drawing",
    "rendering",
    "close",
    "up",
    "cropped",
    "good",
    "character",
    "animal",
    "small",
    "big",
)


def byte_alphabet() -> list[str]:
    """One printable character per byte, as GPT-2 chose them: printable bytes stand for themselves.

    CLIP's tokenizer files are written in this alphabet.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def known_words() -> list[str]:
    """Every word that a caption may hold, nonsense excepted, sorted."""
    phrases: list[str] = ["a an the", "empty scene", *world.LEADS, *SPECIES]
    phrases += [*COLOURS, *POSES, *EXTRA_WORDS]
    for table in (SCENES, TIMES, ACCESSORIES):
        for synonyms in table.values():
            phrases += synonyms
    return sorted({word for phrase in phrases for word in phrase.split()})


def _merge(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """`pieces` with every occurrence of `pair` joined, left to right."""
    merged: list[str] = []
    at = 0
    while at < len(pieces):
        if pieces[at : at + 2] == pair:
            merged.append(pieces[at] + pieces[at + 1])
            at += 2
        else:
            merged.append(pieces[at])
            at += 1
    return tuple(merged)


def learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, the commonest first, until each word is one piece."""
    split = {word: (*word[:-1], word[-1] + WORD_END) for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        counts = Counter(pair for pieces in split.values() for pair in pairwise(pieces))
        if not counts:
            return merges
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        split = {word: _merge(pieces, best) for word, pieces in split.items()}


def write_tokenizer(folder: Path, second: bool = False) -> None:
    """A new folder with vocab.json, merges.txt and tokenizer_config.json; SDXL's second tokenizer
    pads with "!"."""
    alphabet, merges = byte_alphabet(), learn_merges(known_words())
    tokens = [*alphabet, *(c + WORD_END for c in alphabet), *(a + b for a, b in merges), START, END]
    vocab = {token: number for number, token in enumerate(tokens)}
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_LENGTH,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": "!" if second else END,
        "do_lower_case": True,
    }
    files = {
        "vocab.json": json.dumps(vocab, ensure_ascii=False),
        "merges.txt": "\n".join(lines) + "\n",
        "tokenizer_config.json": json.dumps(settings, indent=2) + "\n",
    }
    write_folder(folder, {name: text.encode() for name, text in files.items()})
