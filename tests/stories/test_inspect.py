"""`kaiffin adapter inspect`: what is in a file, and no more promised than loading keeps."""

import re
from pathlib import Path

import pytest
import torch
from conftest import REPO, load_tiny
from made_adapters import varied
from safetensors.torch import load_file, save_file

from kaiffin.adapters.files import reading, tables, writing
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.stack import full_modules
from kaiffin.adapters.targets import select
from kaiffin.cli.main import main
from kaiffin.foundation.errors import AdapterError
from kaiffin.models.base import ModelFamily
from kaiffin.models.families.spec import SPECS
from kaiffin.models.files.embedded import WEIGHTS
from kaiffin.stories.inspect import inspect

CASES = REPO.parent / "shared" / "cases"


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
    assert "1 key has no home in SD 1.x: lora_unet_no_such_layer.alpha" in out
    assert "[bold]x[/bold]" in out
    assert "\x1b" not in out
    assert "y" * 200 not in out
    assert run("convert", tmp_path / "b.safetensors", tmp_path / "c", "--to", "peft") == 2


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


def attention(family: str, rank: int) -> dict[str, torch.Tensor]:
    """A file of the real size and names, on the attention of the denoiser."""
    table = tables.published(family).layers
    state = {}
    for name in select("attention", table, "unet"):
        out, inner = table[name]
        state[f"{name}.lora_down.weight"] = torch.zeros(rank, inner)
        state[f"{name}.lora_up.weight"] = torch.zeros(out, rank)
        state[f"{name}.alpha"] = torch.tensor(float(rank))
    return writing.to_kohya(reading.from_state(state, family))


def test_the_number_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """797,184 at rank 4 on the attention of SD 1.x: a published number."""
    path = tmp_path / "a.safetensors"
    save_file(attention("sd1", 4), path)
    found = inspect(path)
    assert found.weights == 797_184
    assert found.kinds == {"lora": 128}
    (tower,) = found.towers
    assert (tower.name, tower.layers, tower.total) == ("unet", 128, 282)
    assert (tower.ranks, tower.alphas, tower.norm) == ((4,), (4.0,), 0.0)
    assert capsys.readouterr() == ("", "")
    assert run("inspect", path) == 0
    assert "797,184 weights" in capsys.readouterr().out


def test_it_answers_with_all_that_it_found(
    file: Path, sd: ModelFamily, capsys: pytest.CaptureFixture[str]
) -> None:
    found, written = inspect(file, sd.base), varied(sd)
    assert (found.layout, found.family, found.trigger) == ("kohya", "SD 1.x", "kaiffin")
    assert [part.name for part in found.towers] == list(sd.towers)
    assert sum(part.layers for part in found.blocks) == len(written.modules)
    assert sum(part.total for part in found.towers) == len(full_modules(sd))
    squares = sum(part.norm**2 for part in found.blocks)
    assert squares == pytest.approx(sum(part.norm**2 for part in found.towers))
    assert found.towers[0].ranks == (1, 2, 3, 4)
    kept = [t for key, t in load_file(file).items() if not key.endswith(".alpha")]
    assert found.weights == sum(tensor.numel() for tensor in kept)
    assert (found.strays, found.problems, found.tokens) == ([], [], {})
    assert capsys.readouterr() == ("", "")


def test_layers_that_fail_alike_are_told_once(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = {n.replace("mid_block", "mid_block_9"): t for n, t in load_file(file).items()}
    file = tmp_path / "other.safetensors"
    save_file(tensors, file)
    strays, problem = inspect(file).problems  # against SD 1.x, of which it has most names alone
    assert "no home in SD 1.x" in strays
    assert "where this base needs" in problem
    assert problem.count("where this base needs") == 1
    assert re.search(r"And \d+ more layers like it", problem)
    assert run("inspect", file) == 1
    out = capsys.readouterr().out
    assert "Every key has its home" not in out
    assert "See the problems above." in out


def test_names_that_others_ignore_are_a_problem(
    file: Path, sd: ModelFamily, tmp_path: Path
) -> None:
    tensors = load_file(file)
    wrong = {n.replace("lora_te_text_model_", "lora_te_"): t for n, t in tensors.items()}
    save_file(wrong, tmp_path / "b.safetensors")
    (problem,) = inspect(tmp_path / "b.safetensors", sd.base).problems
    assert "without `text_model`" in problem


def test_a_bundled_token_is_shown(
    file: Path, sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for width, code in ((32, 0), (31, 1)):
        token = {"bundle_emb.<toy>.string_to_param.*": torch.ones(3, width)}
        save_file(load_file(file) | token, tmp_path / "b.safetensors")
        assert run("inspect", tmp_path / "b.safetensors", "--base", sd.base) == code
        out = capsys.readouterr().out
        assert f"bundled token: <toy>.string_to_param.*, 3 vectors of {width}" in out
        assert ("is no token of this base" in out) == (width == 31)


def cases() -> list[Path]:
    """Files that went wrong in the field; [None] where they are not on this machine."""
    names = ("23-", "25-", "27-", "28-", "29-")
    found = [p for p in sorted(CASES.rglob("*.safetensors")) if p.parent.name.startswith(names)]
    return found or [CASES / "missing"]


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_what_went_wrong_elsewhere(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is in it: `inspect` finds nothing wrong with just those files that load."""
    if not path.is_file():
        pytest.skip(f"the small inputs are not there: {CASES.parent.name}/cases is missing")
    code = run("inspect", path, "--base", "miniature")
    said = capsys.readouterr()
    assert ("Every key has its home." in said.out) == (code == 0)
    try:
        load_adapter(path, load_tiny(WEIGHTS))
    except AdapterError:
        assert code > 0
        assert "problem: " in said.out or said.err
    else:
        assert code == 0
