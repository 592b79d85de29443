"""Letters composed or not, and encodings that are known or named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiffin.foundation.text import (
    all_of,
    composed,
    counted,
    decoded,
    first_few,
    is_text,
    oddities,
    word_pattern,
)

LETTERS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00\ufeff"))


@given(LETTERS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_what_says_its_encoding_is_read(text: str, encoding: str) -> None:
    found = decoded(text.encode(encoding))
    assert found == composed(text)
    assert is_text(found)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_its_mark(encoding: str) -> None:
    assert decoded("kaiffin in a café\nby noon".encode(encoding)) == "kaiffin in a café\nby noon"


@pytest.mark.parametrize(
    "encoding",
    ["latin-1", "cp1252", "cp1250", "cp1251", "cp1254", "mac-roman", "koi8-r", "shift-jis"],
)
def test_other_encodings_are_no_text_and_the_rest_of_it_is(encoding: str) -> None:
    word = {"cp1251": "кафе", "koi8-r": "кафе", "shift-jis": "猫", "gbk": "猫"}.get(
        encoding, "café"
    )
    lines = decoded(f"plain\n{word}\n".encode(encoding)).split("\n")
    assert [is_text(line) for line in lines] == [True, False, True]


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_shown_to_be_no_text(data: bytes) -> None:
    text = decoded(data)
    assert is_text(text) or "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text)


def test_words_are_found_composed_or_not_in_any_case() -> None:
    assert word_pattern("e\u0301te\u0301").search(composed("in E\u0301te\u0301, at noon"))
    assert not word_pattern("kaiffin").search("a kaiffinish bird")
    assert word_pattern("<kaiffin>").search("a <kaiffin>!")


@pytest.mark.parametrize(
    "text",
    ["a photo of kaiffin at the café", "\u041a\u043e\u0448\u043a\u0430 kaiffin", "Tシャツ",
     "猫と犬、モデル", "αβ-test", "naïve \U0001f427\u200d\u2764\ufe0f", "\U0001fae9 new",
     "“quotes” – dash", "5 µm 40 Ω", "한국어 hi", "עברית English", "ไทย", "हिन्दी"],
)  # fmt: skip
def test_captions_in_any_language_are_not_odd(text: str) -> None:
    assert oddities(text) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [("kaiffin\x85 by night", "'\\x85'"), ("kaiffin \ufffd", "\\ufffd"), ("\x1b[0m", "x1b"),
     ("\ue000", "no text has"), ("\u0378", "no text has"),
     ("k\u03b1iffin", "several scripts"), ("k\u0430iffin", "several scripts"),
     ("café déjà".encode().decode("cp1252"), "'café déjà'"),
     ("\u732b".encode().decode("latin-1"), "no text has")],
)  # fmt: skip
def test_what_no_caption_has_is_odd(text: str, said: str) -> None:
    assert said in oddities(text)


def test_counts_are_in_words() -> None:
    assert [counted(n, "key") for n in (0, 1, 1200)] == ["0 keys", "1 key", "1,200 keys"]
    assert counted(1, "key is", "keys are") == "1 key is"
    assert counted(2, "key is", "keys are") == "2 keys are"
    assert [all_of(n, "layer") for n in (1, 3)] == ["the one layer", "all 3 layers"]


def test_the_first_few_of_many() -> None:
    assert first_few(["a", "b"], 2) == "a, b"
    assert first_few(["a"] * 1003, 2) == "a, a and 1,001 more"
    assert first_few([], 2) == ""
