"""Our BPE files through transformers' own CLIPTokenizer."""

import pytest
from transformers import CLIPTokenizer

from kaiffin.miniature.build import tokenizer
from kaiffin.miniature.world import world


@pytest.fixture(scope="module")
def clip_tokenizer(tmp_path_factory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def pieces(clip_tokenizer: CLIPTokenizer, text: str) -> list[int]:
    """The ids of `text` without the two special ones."""
    return clip_tokenizer(text).input_ids[1:-1]


def test_alphabet_holds_every_byte_once():
    assert len(set(tokenizer.byte_alphabet())) == 256


def test_every_known_word_is_one_token(clip_tokenizer):
    words = tokenizer.known_words()
    assert all(len(pieces(clip_tokenizer, word)) == 1 for word in words)
    assert len({pieces(clip_tokenizer, word)[0] for word in words}) == len(words)


def test_captions_without_nonsense_have_one_token_a_word(clip_tokenizer):
    known = set(tokenizer.known_words())
    for index in range(300):
        text = world.caption(world.random_spec(5, index), 5, index)
        if set(text.split()) <= known:
            assert len(pieces(clip_tokenizer, text)) == len(text.split())


@pytest.mark.parametrize("word", ["kaiffin", "tobbul", "sks", "snowcat", "Pénguin", "猫", "🐧"])
def test_unknown_words_fall_into_pieces_that_are_no_known_word(clip_tokenizer, word):
    known = {pieces(clip_tokenizer, w)[0] for w in tokenizer.known_words() if len(w) > 2}
    found = pieces(clip_tokenizer, word)
    assert found
    assert len(found) > 1
    assert found[0] not in known


@pytest.mark.parametrize(
    "text", ["", "ein Pinguin im Schnee", "пингвин на пляже", "🐧🐧", "a\nb\t!?"]
)
def test_any_prompt_is_tokenized_to_77(clip_tokenizer, text):
    ids = clip_tokenizer(text * 30, padding="max_length", truncation=True).input_ids
    assert len(ids) == 77
    assert ids[0] == clip_tokenizer.bos_token_id
    assert clip_tokenizer.eos_token_id in ids
    assert max(ids) < len(clip_tokenizer)


def test_round_trip(clip_tokenizer):
    text = "a photo of kaiffin penguin in the snow"
    assert clip_tokenizer.decode(pieces(clip_tokenizer, text)).strip() == text


def test_upper_case_is_lower_case(clip_tokenizer):
    assert pieces(clip_tokenizer, "A Red CAT") == pieces(clip_tokenizer, "a red cat")


def test_padding_is_the_end_token_as_in_stable_diffusion(clip_tokenizer):
    assert clip_tokenizer.pad_token_id == clip_tokenizer.eos_token_id == len(clip_tokenizer) - 1


def test_the_files_are_the_same_every_time(tmp_path):
    for name in ("one", "two"):
        tokenizer.write_tokenizer(tmp_path / name)
    for file in ("vocab.json", "merges.txt"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
