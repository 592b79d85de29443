"""The `parameters` text: what is written is read back, and texts of A1111's own."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kaiffin.adapters import strength
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.prompts import Prompt, in_tag, read_as
from kaiffin.foundation.samplers import SAMPLERS, SCHEDULES
from kaiffin.pictures.infotext import read, tag, written
from kaiffin.pictures.named import weights_of
from kaiffin.pictures.request import Request

PIECES = st.sampled_from(
    ["a dog", "(", ")", "[", "]", ":", "|", "\\", "0.5", " ", "\n", "BREAK", "AND", "Steps: 5, ",
     "Negative prompt: ", "<foo:x>", "<lora:", ">", '"', ",", "Seed: 3", "<big> toy", "ü犬"],
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=8).map("".join)
NUMBERS = st.floats(-100, 100).map(lambda x: round(x, 6))
SETTINGS = {
    "width": st.integers(8, 9999), "height": st.integers(8, 9999), "steps": st.integers(1, 150),
    "guidance": st.floats(0, 100), "sampler": st.sampled_from(list(SAMPLERS)),
    "eta": st.floats(0, 1), "clip_skip": st.integers(0, 4),
    "schedule": st.sampled_from(list(SCHEDULES)), "guidance_rescale": st.floats(0, 1),
    "prompt_syntax": st.sampled_from(["a1111", "comfyui", "plain"]), "negative": TEXTS,
}  # fmt: skip
NAMES = st.text('ab :<>,"=é.', min_size=1, max_size=8).filter(lambda name: in_tag(name))


def spoken(prompt: Prompt) -> list[list[tuple[str | None, float]]]:
    """What is said at each step but for blanks and case, which mean nothing to CLIP."""
    return [
        [
            (one.text and " ".join(one.text.lower().split()), one.weight)
            for one in said.pieces
            if one.text is None or one.text.strip()
        ]
        for said in prompt.texts(7)
    ]


@given(
    st.builds(Request, prompt=TEXTS, seed=st.integers(0, 2**63 - 1), **SETTINGS),
    st.dictionaries(NAMES, st.tuples(NUMBERS, NUMBERS), max_size=2),
)
@example(Request("<lora:x:1> (a:0,8)", 1, 8, 8, prompt_syntax="plain"), {})
@example(Request("", 0, 8, 8), {})
def test_a_request_is_read_back_as_it_was(
    asked: Request, adapters: dict[str, tuple[float, float]]
) -> None:
    """From the text alone: its settings, its adapters, and what is said at each step."""
    assume(len({in_tag(name) for name in adapters}) == len(adapters))
    try:
        meant = asked.read
    except ConfigError:
        assume(False)
    refs = [
        {"name": name, "sha256": "0" * 64, "weight": f"unet={unet!r},text={text!r}"}
        for name, (text, unet) in adapters.items()
    ]
    text = written(
        {"kaiffin": "1", "base": {"name": 'a, "b": Seed: 9', "revision": "f" * 40},
         "adapters": refs, "embeddings": refs, "request": vars(asked)}
    )  # fmt: skip
    found = read(text)
    sample = dict(found.sample)
    syntax = sample.pop("prompt_syntax", "a1111")
    size, negative = sample.pop("size"), sample.pop("negative")
    again, other = read_as(found.prompt, syntax), read_as(negative, syntax)
    assert [spoken(again), spoken(other)] == [spoken(meant[0]), spoken(meant[1])]
    assert (again.leaning, other.tags) == (meant[0].leaning, ())
    assert {one.name: (one.text, one.unet) for one in again.tags} == {
        in_tag(name): both for name, both in adapters.items()
    }
    defaults = {"eta": 0.0, "guidance_rescale": 0.0}  # which are not said
    assert {"size": tuple(size), "seed": found.seed, **defaults, **sample} == {
        "size": (asked.width, asked.height),
        **{name: getattr(asked, name) for name in ("seed", *sample, *defaults)},
    }
    assert {"steps", "guidance", "sampler", "schedule", "clip_skip"} <= sample.keys()


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (0.8, "0.8"), ("unet=0.9,text=0.5", "0.5:0.9"), ("1..0.3", "0.65:1"),
        ("0.8,text=0.8", "0.8"), ("0.8,unet.mid_block.*=0.2", "0.8"), ("0.00001", "0.00001"),
    ],
)  # fmt: skip
def test_a_weight_as_a_tag_says_it(weight: float | str, said: str) -> None:
    assert tag("my: toy", weight) == f"<lora:my toy:{said}>"
    (found,) = read_as(tag("toy", weight), "a1111").tags
    for layer in ("unet.up.x", "text_encoder.x"):
        assert weights_of(found).at(layer, 0.0) == strength.parse(str(weight)).at(layer, 0.0)


def test_a_text_of_the_web_ui() -> None:
    text = (
        "a \\(red\\) car, <lora:x:1>\nNegative prompt: blur,\ngrey\nSteps: 20,"
        " Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 42, Size: 512x768, Model: x,"
        ' Clip skip: 2, Lora hashes: "x: 0123, Steps: 9", Version: v1.10.1'
    )
    found = read(text)
    assert (found.prompt, found.seed) == ("a \\(red\\) car, <lora:x:1>", 42)
    assert found.sample == {
        "negative": "blur,\ngrey", "steps": 20, "guidance": 7.5, "sampler": "dpm++2m",
        "schedule": "karras", "size": [512, 768], "clip_skip": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "a cat", "a cat\nSteps: 5, Seed: 3", "a\nSteps: many, a: b, c: d"]
)
def test_what_is_no_such_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"settings|many"):
        read(text)
