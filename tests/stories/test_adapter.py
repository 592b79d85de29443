"""`kaiffin adapter ...` on real files: what it says, what it writes, and what it refuses."""

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
from safetensors.torch import load_file, save_file
from test_conversions import output, varied
from test_proof import one_alpha

from kaiffin.adapters import strength
from kaiffin.adapters.files import reading, tables, writing
from kaiffin.adapters.files.open import open_file
from kaiffin.adapters.load import load_adapter
from kaiffin.cli.main import main
from kaiffin.foundation.errors import UserError
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import SPECS


@pytest.fixture
def file(sd: ModelFamily, tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    writing.write(one_alpha(varied(sd)), path, "kohya")
    return path


def run(*arguments: object) -> int:
    return main(["adapter", *(str(argument) for argument in arguments)])


def test_inspect_says_what_is_in_it(
    file: Path, sd: ModelFamily, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", file, "--base", sd.base) == 0
    out = capsys.readouterr().out
    table = tables.of_folder(Path(sd.base), "sd1").layers
    total = sum(name.startswith("text_encoder.") for name in table)
    assert "kohya layout, SD 1.x" in out
    assert "trigger: kaiffin" in out
    assert f"{total}" in next(line for line in out.splitlines() if "text_encoder" in line)
    assert "1 to 4" in out  # ranks
    assert "unet.mid_block" in out
    assert "Every key has its home." in out


def test_inspect_without_a_base_names_what_does_not_fit(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names are those of SD 1.x, the shapes are not."""
    assert run("inspect", file) == 1
    out = capsys.readouterr().out
    assert "where this base needs" in out
    assert "name that base with --base" in out


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_inspect_finds_the_family_by_itself(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of the real size and names, with no metadata at all."""
    state = {}
    for name, shape in tables.published(family).layers.items():
        if ".attn2.to_k" in name or ".proj_in" in name:
            state[f"{name}.lora_down.weight"] = torch.zeros(2, *shape[1:])
            state[f"{name}.lora_up.weight"] = torch.ones(shape[0], 2, *[1] * (len(shape) - 2))
            state[f"{name}.alpha"] = torch.tensor(2.0)
    file = reading.from_state(state, family)
    save_file(writing.to_kohya(file), tmp_path / "a.safetensors")
    assert run("inspect", tmp_path / "a.safetensors") == 0
    assert SPECS[family].title in capsys.readouterr().out


def test_strays_are_shown_and_hostile_text_is_not_obeyed(
    file: Path, sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(file) | {"lora_unet_no_such_layer.alpha": torch.tensor(1.0)}
    header = {"ss_output_name": "[bold]x[/bold]\x1b[31m\nsecond line", "big": "y" * 10_000}
    save_file(tensors, tmp_path / "b.safetensors", header)
    assert run("inspect", tmp_path / "b.safetensors", "--base", sd.base) == 1
    out = capsys.readouterr().out
    assert "1 keys have no home in SD 1.x: lora_unet_no_such_layer.alpha" in out
    assert "[bold]x[/bold]" in out
    assert "\x1b" not in out
    assert "y" * 200 not in out
    assert run("convert", tmp_path / "b.safetensors", tmp_path / "c", "--to", "peft") == 2


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


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt"])
def test_pickles_are_refused_with_the_way_out(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"adapter_model{suffix}").write_bytes(b"cos\nsystem\n")
    for path in (tmp_path / f"adapter_model{suffix}", tmp_path):
        assert run("inspect", path) == 2
        err = capsys.readouterr().err
        assert "pickle" in err
        assert ".safetensors version" in err


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
