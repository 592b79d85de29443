"""What is asked for: prompts from a line or a file, names of files, and requests of settings."""

from pathlib import Path

import pytest

from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.request import (
    Request,
    read_prompts,
    remarks,
    request,
    settings,
    slug,
    with_size,
)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A photo of <kaiffin>, in the snow!", "a-photo-of-kaiffin-in-the-snow"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "picture"),
        ("", "picture"),
        ("ein Bär am See", "ein-bär-am-see"),
        ("word " * 40, "word-word-word-word-word-word-word-word-word-word-word-word-"),
    ],
)
def test_a_prompt_as_a_file_is_called(prompt: str, name: str) -> None:
    assert slug(prompt) == name


def test_no_name_is_longer_than_file_systems_take() -> None:
    """255 bytes, with the seed and what a file is called while it is written."""
    longest = f".{slug('𠀀' * 80)}-seed{2**63}-123456789012.png.4194304.part"
    assert len(longest.encode()) <= 255


def test_prompts_of_a_file_or_the_one_that_is_given(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa dog \na cat\n", encoding="utf-8")
    assert read_prompts(None, file) == ["a dog", "a cat"]
    assert read_prompts("a bird", None) == ["a bird"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("a\n\nb\n", "line 2: is empty"), ("", "holds no prompts"), (None, "cannot be read")],
)
def test_prompts_that_are_none(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "prompts.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_prompts(None, file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_prompts_are_read_however_they_were_saved(tmp_path: Path, encoding: str, end: str) -> None:
    file = tmp_path / "prompts.txt"
    lines = ["a dög\u2028in snow", "#1 dad <lora:x:1>"]
    file.write_bytes(end.join([*lines, "  ", ""]).encode(encoding))
    assert read_prompts(None, file) == lines


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("é".encode("latin-1"), "is not UTF-8 text"),
        (b"a\0b", "is not UTF-8 text"),
        (b"a\n# b", "line 2: '# b' would be read as"),
    ],
)
def test_prompts_that_would_be_others(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        read_prompts(None, file)


@pytest.mark.parametrize(
    ("prompt", "changes", "said"),
    [
        ("a (dog:1.3)", {}, ["1 weight"]),
        ("a [dog:cat:0.5] (in) [snow]", {}, ["2 weights, 1 prompt changing on the way"]),
        ("a (dog:1.3)", {"prompt_syntax": "plain"}, []), ("a (dog", {}, ["1 weight", "not closed"]),
        ("a dog) in [snow]]", {}, ["1 weight", "closes none"]), (r"a dog :\)", {}, []),
        ("a dog in the snow, and BREAKfast", {}, []), ("x", {"negative": "(bad)"}, ["1 weight"]),
        ("x", {"guidance": 0.0}, ["leaves the prompt out"]),
        ("x", {"guidance": 1.0}, ["is the prompt alone, in half the time"]),
        ("x", {"guidance": 1.0, "guidance_rescale": 0.7}, ["time; nothing is rescaled"]),
        ("x", {"guidance": 1.0, "negative": "bad"}, ["negative prompt has no effect"]),
        ("x", {"guidance": 1.0, "guidance_interval": "0.3,5"}, ["its interval has no effect"]),
        ("x", {"guidance": 1.0, "negative_strength": 0.5}, ["no half to weaken"]),
        ("x", {"eta": 0.5}, [r"no effect with dpm++2m: it is of ddim only"]),
        ("x", {"eta": 0.5, "sampler": "ddim"}, []),
    ],
)  # fmt: skip
def test_what_will_be_ignored_is_said(prompt: str, changes: dict, said: list[str]) -> None:
    asked = [request("a dog", 0, SampleConfig()), request(prompt, 0, SampleConfig(**changes))]
    found = remarks(asked)
    assert len(found) == len(said)
    for line, words in zip(found, said, strict=True):
        assert words in line


def test_neither_prompt_nor_file_and_both(tmp_path: Path) -> None:
    for pair in ((None, None), ("a dog", tmp_path / "prompts.txt")):
        with pytest.raises(ConfigError, match="give one prompt, or a file"):
            read_prompts(*pair)


def test_a_request_has_all_settings_and_the_base_s_own_size(sd: ModelFamily) -> None:
    sample = SampleConfig(
        sampler="ddim", steps=7, guidance=2.5, eta=0.5, negative="blurry", clip_skip=1
    )
    made = request("a dog", 3, with_size(sample, sd))
    assert made == Request(
        "a dog",
        3,
        sd.native_size,
        sd.native_size,
        "blurry",
        7,
        2.5,
        "ddim",
        0.5,
        1,
        prompt_syntax="a1111",
    )
    wide = SampleConfig(size=(96, 48))
    assert with_size(wide, sd) is wide


def test_a_size_is_made_of_whole_cells(sd: ModelFamily, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sd, "downscale", 16)
    with pytest.raises(ConfigError, match=r"72x128: this base draws multiples of 16.*64x128"):
        with_size(SampleConfig(size=(72, 128)), sd)


def test_pictures_of_other_prompts_and_seeds_go_together() -> None:
    one = Request("a dog", 1, 64, 64, negative="x")
    assert settings(one) == settings(Request("a cat", 2, 64, 64))
    assert settings(one) != settings(Request("a dog", 1, 64, 96))


def test_only_the_sampler_that_takes_eta_gets_it() -> None:
    assert Request("x", 0, 8, 8, sampler="ddim", eta=0.5).options == {"eta": 0.5}
    assert Request("x", 0, 8, 8, sampler="euler", eta=0.5).options == {}
