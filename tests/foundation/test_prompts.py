"""Prompts, by what A1111's web UI documents of its syntax, and by what must hold for any text."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.prompts import (
    COMMANDS,
    STRONGEST,
    Piece,
    Spoken,
    Tag,
    escaped,
    read,
    read_as,
)


def pieces(text: str, step: int = 1, steps: int = 10) -> list[tuple[str | None, float]]:
    return [(one.text, pytest.approx(one.weight)) for one in read(text).at(step, steps)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("[a|b", [("a|b", 1 / 1.1)]),
        ("unbalanced)", [("unbalanced)", 1)]),
        (r"\(literal\]", [("(literal]", 1)]),
        (r"a\\b", [("a\\b", 1)]),
        (r"\o/ B\REAK", [("o/ BREAK", 1)]),
        ("<lora\\:a:1>", [("<lora:a:1>", 1)]),
        ("(happy :)", [("happy :", 1.1)]),
        ("(red:1.3) dog", [("red", 1.3), (" dog", 1)]),
        ("(red: 1.3 ) dog", [("red", 1.3), (" dog", 1)]),
        ("(red:.5)", [("red", 0.5)]),
        ("[less]", [("less", 1 / 1.1)]),
        ("((twice))", [("twice", 1.21)]),
        ("((in:2) out:0.5)", [("in", 1.0), (" out", 0.5)]),
        ("(a: b)", [("a: b", 1.1)]),
        ("time 12:30", [("time 12:30", 1)]),
        ("(ratio 16:9)", [("ratio 16", 9)]),
        ("one BREAK two", [("one", 1), (None, 1), ("two", 1)]),
        ("(one BREAK two:1.2)", [("one", 1.2), (None, 1), ("two", 1.2)]),
        ("BREAKFAST", [("BREAKFAST", 1)]),
        ("", [("", 1)]),
        (":)", [(":)", 1)]),
        ("a | b", [("a | b", 1)]),
    ],
)
def test_weights(text: str, expected: list[tuple[str | None, float]]) -> None:
    assert pieces(text) == expected


def test_the_example_of_its_manual() -> None:
    text = "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky)))."
    assert pieces(text) == [
        ("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55),
        (", sun, ", 1.1), ("sky", 1.4641), (".", 1.1),
    ]  # fmt: skip
    assert read(text).open == 1


def words(text: str, steps: int) -> list[str]:
    """The whole text of each step, weights aside."""
    prompt = read(text)
    return [
        "".join(one.text or "" for one in prompt.at(step, steps)) for step in range(1, steps + 1)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [b:3]", ["a "] * 3 + ["a b"] * 7),
        ("a [b: 3]", ["a "] * 3 + ["a b"] * 7),
        ("a [b::3]", ["a b"] * 3 + ["a "] * 7),
        ("[cat:dog:0.4] x", ["cat x"] * 4 + ["dog x"] * 6),
        ("[cat:dog:.05]", ["dog"] * 10),
        ("[cat:dog:99]", ["cat"] * 10),
        ("a[b:[c:d:2]:1]e", ["abe", "ace"] + ["ade"] * 8),
        ("[(a:2):3]", [""] * 3 + ["a"] * 7),
        ("[a|b|c]", list("abcabcabca")),
        ("[a|]x", ["ax", "x"] * 5),
        ("[a:b]", ["a:b"] * 10),
        ("[a:b:c:0.5]", ["a:b:c:0.5"] * 10),
    ],
)
def test_changes_on_the_way(text: str, expected: list[str]) -> None:
    assert words(text, 10) == expected
    assert read(text).changes == (len(set(expected)) > 1 or text.startswith("[cat"))


def test_weights_in_turns_and_changes() -> None:
    prompt = read("(x [a|(b:2)] [c:0.5]:0.5)")
    assert [one.weight for one in prompt.at(2, 10)] == [0.5, 1.0, 0.5]
    assert prompt.at(1, 10) == (Piece("x a ", 0.5),)
    assert prompt.at(7, 10) == (Piece("x a c", 0.5),)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("a <lora:puffin:0.8> b", Tag("puffin", 0.8, 0.8)),
        ("<lora:puffin>", Tag("puffin")),
        ("<lora:puffin:0.8:0.5>", Tag("puffin", 0.8, 0.5)),
        ("<lora:puffin:0.8:unet=0.5>", Tag("puffin", 0.8, 0.5)),
        ("<lora:puffin:te=0:unet=1>", Tag("puffin", 0.0, 1.0)),
        ("<lora:puffin:unet=0.2>", Tag("puffin", 1.0, 0.2)),
        ("<lora:my puffin.v2:-1>", Tag("my puffin.v2", -1.0, -1.0)),
        ("<lyco:puffin:1>", Tag("puffin")),
    ],
)
def test_tags(text: str, tag: Tag) -> None:
    prompt = read(text)
    assert prompt.tags == (tag,)
    assert "<" not in "".join(one.text or "" for one in prompt.at(1, 1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<lora:a:0,8>", "0.8"),
        ("<lora:a:80%>", "0.8"),
        ("<lora:a:>", "no number"),
        ("<lora:a:strong>", "no number"),
        ("<lora::1>", "no adapter's tag"),
        ("<lora:a:1:1:1>", "no adapter's tag"),
        ("<lora:a:mid=1>", "no adapter's tag"),
        ("<lora:a:1> <lora:a:0.5>", "named twice"),
        ("<lora:a:1e9>", "no number"),
        (f"<lora:a:{STRONGEST * 2:.0f}>", "leaves nothing"),
        ("(a:1000000000)", "leaves nothing"),
        ("<hypernet:a:1>", "not applied"),
        ("<lora:a<lora:b:1>:1>", "another stands within it"),
        ("<lora:<lora:a:1>:1>", "another stands within it"),
        ("a <lora:b:0.8", "not closed"),
        ("(a:0,8)", "0.8"),
        ("[a:b:0,4]", "0.4"),
        ("((a:80 %):1.2)", "0.8"),
        ("(a:)", "no number"),
        ("[a:b:]", "no number"),
        ("(a:1e9)", "'1e9' is no number"),
        ("(a:1.3.5)", "no number"),
    ],
)
def test_what_no_program_could_mean_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert said in f"{error.value.message} {error.value.fix}"


@given(st.text(alphabet="ab ()[]:|\\.19<>,BREAK", max_size=40) | st.just("<lora:a:1> <lora:"))
def test_any_text_is_read_and_escaped_text_says_itself(text: str) -> None:
    with contextlib.suppress(ConfigError):
        read(text).at(3, 7)
    said = escaped(text)
    prompt = read(said)
    assert not prompt.changes
    assert prompt.weights == 0
    (only,) = prompt.at(1, 1)
    assert only.weight == 1
    assert prompt.tags == ()
    assert only.text == COMMANDS.sub(lambda found: found[0].lower(), text)


def test_plain_text_is_read_as_it_stands() -> None:
    text = r"(a:1.3) [b|c] BREAK \(d\) <lora:e:1>"
    assert read_as(text, "plain").texts(2) == [Spoken((Piece(text),))] * 2
    assert read_as("(a:2)", "comfyui").texts(1) == [Spoken((Piece("a", 2.0),), leaning=True)]
