"""`kaiffin adapter ...` on real files: what it answers, what it writes, and what it refuses."""

import contextlib
import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from conftest import load_tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_adapters import one_alpha, output, varied
from safetensors.torch import load_file

from kaiffin.adapters import strength
from kaiffin.adapters.files import reading, writing
from kaiffin.adapters.files.open import open_file
from kaiffin.adapters.load import load_adapter
from kaiffin.cli.main import main
from kaiffin.foundation.errors import UserError
from kaiffin.models.base import ModelFamily


@pytest.fixture
def file(sd: ModelFamily, tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd)), path, "kohya")
    return path


def run(*arguments: object) -> int:
    return main(["adapter", *(str(argument) for argument in arguments)])


def test_convert_there_and_back(file: Path, sd: ModelFamily, tmp_path: Path) -> None:
    for layout in ("peft", "diffusers"):
        other, back = tmp_path / f"o-{layout}", tmp_path / f"{layout}.safetensors"
        assert run("convert", file, other, "--to", layout, "--base", sd.base) == 0
        assert run("convert", other, back, "--to", "kohya", "--base", sd.base) == 0
        assert back.read_bytes() == file.read_bytes()
    assert run("convert", file, back, "--to", "kohya") == 2  # nothing is overwritten


def test_verify(file: Path, sd: ModelFamily, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", file, "--base", sd.base) == 0
    assert "ComfyUI, A1111, sd-scripts know all" in capsys.readouterr().out
    writing.write(varied(sd), file, "kohya")
    assert run("verify", file, "--base", sd.base) == 1
    assert "proof fails: " in capsys.readouterr().out


def test_merge_resize_and_diff(
    file: Path, sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--base", sd.base]
    whole, small = tmp_path / "m.safetensors", tmp_path / "s.safetensors"
    assert run("merge", f"{file}:0.8", f"{file}:-0.3", "--out", whole, *base) == 0
    half = load_adapter(file, sd, strength.parse("0.5"))
    half.inject(sd)
    expected = output(sd)
    half.eject()
    both = load_adapter(whole, sd)
    both.inject(sd)
    assert torch.allclose(output(sd), expected, atol=1e-5)
    both.eject()
    # Both have the same directions, so the ranks that were added up come off again for nothing.
    assert run("resize", whole, small, "--energy", "0.999999", *base) == 0
    assert "0.00%" in capsys.readouterr().out
    assert small.stat().st_size < whole.stat().st_size
    assert run("diff", whole, small, *base) == 0
    row = next(x for x in capsys.readouterr().out.splitlines() if "unet.mid_block" in x)
    cosine, distance = (float(value) for value in row.split()[-2:])
    assert cosine == pytest.approx(1, abs=1e-3)
    assert distance < 2e-3
    for wrong in ([], ["--rank", 0], ["--energy", 1.5], ["--rank", 2, "--energy", 0.5]):
        assert run("resize", whole, tmp_path / "x", *wrong) == 2
    assert not (tmp_path / "x").exists()


def test_merged_into_a_base_and_taken_out_again(
    file: Path, family: ModelFamily, tmp_path: Path
) -> None:
    """The base with the adapter in it acts as base plus adapter; extract gets the adapter back."""
    writing.write(one_alpha(varied(family)), file, "kohya", family.layers_per_block)
    adapter = load_adapter(file, family)
    adapter.inject(family)
    expected = output(family)
    adapter.eject()
    tuned, out = tmp_path / "tuned", tmp_path / "out.safetensors"
    assert run("merge", file, "--into", family.base, "--out", tuned) == 0
    assert torch.allclose(output(load_tiny(tuned)), expected, atol=1e-4)
    saved = load_tiny(tuned).schedule
    assert torch.equal(saved.alphas_cumprod, family.schedule.alphas_cumprod)
    assert saved.prediction_type == family.schedule.prediction_type
    assert run("extract", tuned, family.base, out, "--rank", "4") == 0
    again = load_adapter(out, family)
    assert set(again.layers()) == set(adapter.layers())
    again.inject(family)
    assert torch.allclose(output(family), expected, atol=1e-3)
    again.eject()
    assert run("extract", family.base, family.base, tmp_path / "none", "--rank", "4") == 2


def test_every_training_proves_its_export(sd_path: Path, photos6: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    call = ["train", str(photos6), "--base", str(sd_path), "--steps", "1", "--class", "x"]
    call += ["--data.prior.weight", "0", "--adapter.text_encoder", "true", "--out", str(out)]
    assert main([*call, "--adapter.text_rank", "2", "--adapter.rank", "4"]) == 0
    made = json.loads((out / "proof.json").read_text())
    assert made["holds"]
    assert made["matched"] == made["layers"]
    assert made["known"] == dict.fromkeys(("ComfyUI", "A1111", "sd-scripts"), made["keys"])


@pytest.mark.parametrize("layout", ["kohya", "diffusers", "peft"])
def test_training_goes_on_from_any_layout(
    layout: reading.Layout, file: Path, sd: ModelFamily, photos6: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A vanishing rate changes nothing, so the new file is the old one, text layers included."""
    start, out = tmp_path / f"start-{layout}", tmp_path / "run"
    start = start.with_suffix("" if layout == "peft" else ".safetensors")
    writing.write(open_file(file, sd.base).file, start, layout)
    call = ["train", str(photos6), "--base", sd.base, "--class", "x", "--data.prior.weight", "0"]
    call += ["--adapter.init_from", str(start), "--steps", "2", "--out", str(out)]
    assert main([*call, "--train.lr", "1e-30", "--train.weight_decay", "0"]) == 0
    old, new = load_file(file), load_file(out / "kaiffin.safetensors")
    assert set(old) == set(new)
    assert all(torch.allclose(old[name], new[name], atol=1e-7) for name in old)
    shutil.rmtree(out)
    assert main([*call, "--adapter.rank", "9"]) == 2
    assert "adapter.rank = 9: adapter.init_from goes on" in capsys.readouterr().err


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_file_crashes_the_reader(file: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed, cut off or replaced anywhere in a good file: read, or refused in one line."""
    content = bytearray(file.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    place = data.draw(st.integers(0, min(length + 40, len(content) - 1)))
    content[place : place + 4] = data.draw(st.binary(min_size=1, max_size=8))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path = tmp_path / "fuzzed.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(UserError):  # of which each is one line, by construction
        open_file(path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "is not valid JSON"),
        ("[]", "holds no settings"),
        ('{"peft_type": "IA3"}', "is a 'IA3', not a LoRA"),
        ('{"peft_type": "LORA", "lora_alpha": "x"}', "lora_alpha"),
        ('{"peft_type": "LORA", "lora_alpha": 4, "alpha_pattern": {"(": 1}}', "alpha_pattern"),
        ('{"peft_type": "LORA", "lora_alpha": 4, "alpha_pattern": 3}', "alpha_pattern"),
    ],
)
def test_a_broken_peft_config_is_named(
    config: str, said: str, file: Path, sd: ModelFamily, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "peft"
    assert run("convert", file, folder, "--to", "peft", "--base", sd.base) == 0
    shutil.move(folder / "unet" / "adapter_model.safetensors", folder)
    shutil.rmtree(folder / "unet")
    shutil.rmtree(folder / "text_encoder")
    (folder / "adapter_config.json").write_text(config)
    assert run("inspect", folder, "--base", sd.base) == 2
    assert said in capsys.readouterr().err
