"""Weights by part and over the denoising steps: read, applied, and two subjects of one name."""

from pathlib import Path

import pytest
import torch
from conftest import FEW
from hypothesis import given
from hypothesis import strategies as st
from made_adapters import (
    made,
    predict,
    randomise,
    saved,
)

from kaiffin.adapters import strength
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.strength import Ramp
from kaiffin.cli.main import main
from kaiffin.foundation.errors import ConfigError
from kaiffin.models.base import ModelFamily
from kaiffin.pictures import sample as pictures
from kaiffin.pictures.make import parse_adapter
from kaiffin.pictures.request import Request

MID, UP = "unet.mid_block.attentions.0.proj_in", "unet.up_blocks.1.resnets.0.conv1"
TEXT = "text_encoder_2.text_model.encoder.layers.0.mlp.fc1"


@pytest.mark.parametrize(
    ("text", "expected"),  # MID, UP and TEXT half way
    [
        ("0.8", (0.8, 0.8, 0.8)),
        ("-1", (-1, -1, -1)),
        ("unet=0.5,text=0.25", (0.5, 0.5, 0.25)),
        ("0.5,unet.mid_block=2", (2, 0.5, 0.5)),
        ("unet.up_blocks.*.conv1=0,0.3", (0.3, 0, 0.3)),
        ("text_encoder=9", (1, 1, 1)),
        ("1..0", (0.5, 0.5, 0.5)),
        ("unet=0..4,text=1", (2, 2, 1)),
    ],
)
def test_reading(text: str, expected: tuple) -> None:
    found = strength.parse(text)
    assert tuple(found.at(name, 0.5) for name in (MID, UP, TEXT)) == expected
    assert strength.parse(str(found)) == found


@given(st.floats(-4, 4, width=16), st.floats(-4, 4, width=16), st.floats(0, 1))
def test_a_ramp_is_linear_and_text_takes_its_mean(first: float, last: float, at: float) -> None:
    found = strength.Weights(Ramp(first, last)).times(2.0)
    assert found.at(MID, at) == pytest.approx(2 * (first * (1 - at) + last * at), abs=1e-9)
    assert found.at(TEXT, at) == pytest.approx(first + last, abs=1e-9)


@pytest.mark.parametrize("text", ["unet=x", "=1", "1..", "0.5,,1", "nan", ""])
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        strength.parse(text)


@pytest.mark.parametrize("text", ["1e9", "unet=-2000", "1e999", "1..-1e300"])
def test_a_weight_beyond_all_measure(text: str) -> None:
    assert strength.parse("1000").number == 1000
    with pytest.raises(ConfigError, match="leaves nothing of a picture"):
        strength.parse(text)


@pytest.mark.parametrize(
    ("text", "path", "shown"),
    [
        ("a.safetensors", "a.safetensors", "1"),
        ("a.safetensors:0.5", "a.safetensors", "0.5"),
        ("a.safetensors:unet=1..0.2,text=0", "a.safetensors", "1,unet.*=1..0.2,text_encoder*=0"),
        (r"C:\adapters\a.safetensors", r"C:\adapters\a.safetensors", "1"),
        (r"C:\a.safetensors:0.8", r"C:\a.safetensors", "0.8"),
        ("C:/a.safetensors:1..0", "C:/a.safetensors", "1..0"),
        ("a.safetensors:1e-1", "a.safetensors", "0.1"),
        ("a.safetensors: 0.8 ", "a.safetensors", "0.8"),
        ("a: b.safetensors", "a: b.safetensors", "1"),
        ("a:b", "a:b", "1"),
    ],
)
def test_files_with_weights(text: str, path: str, shown: str) -> None:
    found = parse_adapter(text)
    assert (str(found.path), str(found.weights)) == (path, shown)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0,8", "everything two values. Write 0.8."), ("-1,5", "Write -1.5."),
        ("unet=0,8", "a comma in a number. Write unet=0.8."),
        ("unet=1,text=0,5", "a comma in a number. Write unet=1,text=0.5."),
        ("80%", "'80%' of '80%' cannot be read. Write 0.8."), ("", "cannot be read. Write"),
        ("1.0.0", "'1.0.0' of '1.0.0' cannot be read. Write 0.8, unet="), ("inf", "cannot be read"),
        ("strong", "'strong' of"), ("unet=1,unet=0", "give unet two values"), ("0.8x", "'0.8x'"),
    ],
)  # fmt: skip
def test_what_stands_behind_a_file_is_a_weight_or_is_refused(given: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_adapter(f"a.safetensors:{given}")
    assert said in str(caught.value)
    assert str(caught.value).startswith("a.safetensors: ")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_behind_a_file_is_read_or_refused(text: str) -> None:
    try:
        found = parse_adapter(f"a.safetensors:{text}")
    except ConfigError:
        return
    assert str(found.path) == "a.safetensors" or ":" in text


def test_a_file_with_a_colon_in_its_name_is_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:0.8").touch()
    Path("folder").mkdir()
    assert parse_adapter("a:0.8").path == Path("a:0.8")
    assert parse_adapter("a:0.8:0.5").weights.number == 0.5
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_adapter("folder:strong")


def test_a_part_of_weight_zero_is_as_if_it_were_not_there(
    family: ModelFamily, tmp_path: Path
) -> None:
    adapter = made(family, "all-linear")
    randomise(adapter)
    path = saved(adapter, family, tmp_path / "a.safetensors")
    stack = load_adapter(path, family, strength.parse("unet=1,text=0"))
    stack.inject(family)
    without_text = predict(family)
    stack.eject()
    for name in [n for n in adapter.layers if not n.startswith("unet.")]:
        del adapter.layers[name]
    alone = load_adapter(saved(adapter, family, tmp_path / "b.safetensors"), family)
    alone.inject(family)
    assert torch.equal(predict(family), without_text)
    alone.eject()


def test_a_ramp_reaches_each_step(sd: ModelFamily, tmp_path: Path) -> None:
    """The weights that the denoising steps see, of five: from 1 to 0."""
    adapter = made(sd, "attention")
    randomise(adapter)
    path = saved(adapter, sd, tmp_path / "a.safetensors")
    stack = load_adapter(path, sd, strength.parse("1..0"))
    stack.inject(sd)
    seen = []
    name = next(name for name in stack.layers() if name.startswith("unet."))
    hook = sd.towers["unet"].register_forward_pre_hook(
        lambda *_: seen.append(stack.adapters[""].scales[name])
    )
    request = Request("a dog", 1, 64, 64, steps=5)
    list(pictures.generate(sd, [request], weigh=stack.weigh))
    hook.remove()
    stack.eject()
    assert seen == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_two_subjects_of_one_name(
    sd_path: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    files = []
    for seed in ("0", "1"):
        run = tmp_path / seed
        call = ["train", str(folder), "--base", str(sd_path), "--class", "thing", "--steps", "2",
                "--seed", seed, "--out", str(run), "--data.prior.weight", "0",
                "--adapter.targets", FEW]  # fmt: skip
        assert main(call) == 0
        files += ["--adapter", str(run / "kaiffin.safetensors")]
    capsys.readouterr()
    make = ["generate", str(sd_path), "a kaiffin", "--steps", "2", "--out", str(tmp_path / "out")]
    assert main([*make, *files]) == 2
    said = capsys.readouterr().err
    assert "are both called by 'kaiffin thing'" in said
    assert "--blend" in said
    assert main([*make, *files, "--blend", "0.5"]) == 0
    assert main([*make, *files[:2], "--blend", "0.5"]) == 2
    assert "two adapters, and 1 are given" in capsys.readouterr().err
