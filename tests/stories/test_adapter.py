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
from made_adapters import one_alpha, opened, output, varied
from made_run import made_run
from PIL import Image
from safetensors.torch import load_file, save_file
from test_fit import BROKEN
from test_fit import Q as FULL

from kaiffin.adapters import strength
from kaiffin.adapters.files import reading, safe, writing
from kaiffin.adapters.files.open import open_file
from kaiffin.adapters.load import load_adapter
from kaiffin.adapters.ranks import RankSchedule
from kaiffin.adapters.stack import full_modules
from kaiffin.cli.main import main
from kaiffin.foundation.errors import AdapterError, UserError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.base import ModelFamily
from kaiffin.pictures.recipe import read_recipe
from kaiffin.stories import adapter


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
    assert "A1111, ComfyUI, sd-scripts know all" in capsys.readouterr().out
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
    whole = tmp_path / "whole.safetensors"
    assert run("merge", file, "--into", family.base, "--to", "single", "--out", whole) == 0
    difference = (output(load_tiny(whole)) - expected).abs().max() / expected.abs().max()
    assert difference < 1e-2  # half precision
    assert run("merge", file, "--into", family.base, "--to", "single", "--out", whole) == 2
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
    """A vanishing rate changes nothing, so the new file is the old one, text layers and its rule of
    ranks included."""
    start, out = tmp_path / f"start-{layout}", tmp_path / "run"
    start = start.with_suffix("" if layout == "peft" else ".safetensors")
    given = open_file(file, sd.base, tell=SILENT).file
    given.metadata |= RankSchedule(1, 2.0).header()
    writing.write(given, start, layout)
    call = ["train", str(photos6), "--base", sd.base, "--class", "x", "--data.prior.weight", "0"]
    call += ["--adapter.init_from", str(start), "--steps", "2", "--out", str(out)]
    assert main([*call, "--train.lr", "1e-30", "--train.weight_decay", "0"]) == 0
    old, new = load_file(file), load_file(out / "kaiffin.safetensors")
    assert set(old) == set(new)
    assert all(torch.allclose(old[name], new[name], atol=1e-7) for name in old)
    made = load_adapter(out / "kaiffin.safetensors", sd).adapters[""]
    assert made.ranks == RankSchedule(1, 2.0)
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
        open_file(path, tell=SILENT)


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


def test_ranks_that_depend_on_the_timestep(
    file: Path, sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every layout keeps the rule; what cannot is refused, with the way to a file that can."""
    tensors, header = safe.read(file)
    timed, base = tmp_path / "timed.safetensors", ("--base", sd.base)
    safe.save(timed, tensors, header | RankSchedule(2).header())
    for layout in ("peft", "diffusers"):
        other, back = tmp_path / f"o-{layout}", tmp_path / f"{layout}.safetensors"
        assert run("convert", timed, other, "--to", layout, *base) == 0
        assert load_adapter(other, sd).adapters[""].ranks == RankSchedule(2)
        assert run("convert", other, back, "--to", "kohya", *base) == 0
        assert back.read_bytes() == timed.read_bytes()
    capsys.readouterr()
    out = tmp_path / "out.safetensors"
    for call in (
        ("merge", timed, file, "--out", out, *base),
        ("merge", timed, "--into", sd.base, "--out", out),
        ("resize", timed, out, "--rank", 1, *base),
    ):
        assert run(*call) == 2
        said = capsys.readouterr().err
        assert "has ranks that depend on the timestep" in said
        assert "--plain" in said
    assert not out.exists()
    assert run("convert", timed, out, "--to", "kohya", "--plain", *base) == 0
    assert load_adapter(out, sd).adapters[""].ranks is None
    assert run("verify", out, *base) == 0
    assert run("convert", out, tmp_path / "again", "--to", "kohya", "--plain", *base) == 2
    assert "all its ranks act at every timestep" in capsys.readouterr().err


def test_stories_answer_and_print_nothing(
    file: Path, sd: ModelFamily, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layers, base = len(varied(sd).modules), sd.base
    made = adapter.convert(file, tmp_path / "o", "diffusers", base)
    assert made == adapter.Converted(tmp_path / "o", layers, 0, "kohya", "diffusers")
    proof = adapter.verify(file, base)
    assert proof.holds
    assert sum(proof.matched.values()) == layers
    both = [(file, 1.0), (file, 1.0)]
    merged = adapter.merge(both, tmp_path / "m.safetensors", base=base)
    assert (merged.layers, merged.ranks, merged.cuts) == (layers, (2, 4, 6, 8), [])
    cut = adapter.resize(merged.out, tmp_path / "r.safetensors", rank=4, base=base)
    assert cut.after < cut.before == merged.out.stat().st_size
    assert sum(block.layers for block in cut.cuts) == layers
    assert max(block.error for block in cut.cuts) < 1e-3  # the same four directions twice
    into = adapter.merge_into(base, both[:1], tmp_path / "tuned")
    assert into == adapter.MergedBase(tmp_path / "tuned", base, 1)
    drawn = adapter.extract(str(into.out), base, tmp_path / "x.safetensors", rank=4)
    assert (drawn.layers, drawn.total) == (layers, len(full_modules(sd)))
    assert drawn.size == drawn.out.stat().st_size
    found = adapter.diff(file, drawn.out, base)
    assert min(block.cosine for block in found.blocks) > 0.99
    assert found.metadata["modelspec.trigger_phrase"] == ("kaiffin", None)
    assert capfd.readouterr() == ("", "")


def test_the_workflow_of_a_run(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", subject="<toy>")
    run.adapter_path.unlink()
    with pytest.raises(UserError, match="is not finished"):
        adapter.export_comfy(run.path)
    safe.save(run.adapter_path, {"x": torch.ones(1)}, {"modelspec.prediction_type": "v"})
    run.part_path("embedding").write_bytes(b"")
    made = adapter.export_comfy(run.path)
    assert made.out == run.path / "toy.comfyui.json"
    assert made.needs == {
        "loras/toy.safetensors": run.adapter_path,
        "embeddings/toy-embedding.safetensors": run.part_path("embedding"),
        "checkpoints/miniature.safetensors": None,
    }
    text = made.out.read_text()
    assert "a photo of embedding:toy-embedding bird" in text
    assert "v_prediction" in text


SAME = [
    "another width",
    "a half",
    "norms",
    "a scalar",
    "IA3",
    "Flux by its names",
    "an embedding",
    "nothing",
]
MORE = {"an embedding": {"emb_params": torch.ones(2, 32)}, "nothing": {}}


@pytest.mark.parametrize("what", SAME)
def test_four_commands_say_the_same(
    what: str, sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What keeps a file from being used is said alike, whoever is asked."""
    tensors, header, _ = BROKEN.get(what) or (MORE[what], {}, "")
    path = tmp_path / "a.safetensors"
    save_file(tensors, path, header)
    with pytest.raises(AdapterError) as refused:
        load_adapter(path, sd)
    reason = " ".join(refused.value.message.removeprefix(f"{path}: ").split())
    out = tmp_path / "out"
    for call in (
        ["adapter", "inspect", path, "--base", sd.base],
        ["adapter", "verify", path, "--base", sd.base],
        ["adapter", "convert", path, out, "--to", "kohya", "--base", sd.base],
        ["generate", sd.base, "x", "--adapter", path, "--steps", 1, "--out", out],
    ):
        assert main([str(part) for part in call]) > 0
        said = capsys.readouterr()
        assert reason in " ".join((said.out + said.err).split()), call[:2]
        assert "Traceback" not in said.err


def test_words_alone_are_an_adapter(
    sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To every command alike: what has to do with layers says that there are none."""
    path, out = tmp_path / "a.safetensors", tmp_path / "o.safetensors"
    save_file({"bundle_emb.<toy>.string_to_param.*": torch.ones(2, 32)}, path)
    base = ["--base", sd.base]
    for call, code, said in (
        (("inspect", path, *base), 0, "no layers"),
        (("verify", path, *base), 0, "holds the words <toy> alone, and they change the output"),
        (("convert", path, out, "--to", "kohya", *base), 0, "0 layers and 1 token"),
        (("diff", path, out, *base), 0, "token <toy>.string_to_param.*: |a - b| / |a| = 0"),
        (("resize", path, tmp_path / "r", "--rank", 1, *base), 2, "has no layers to cut down"),
    ):
        assert run(*call) == code
        printed = capsys.readouterr()
        assert said in " ".join((printed.out + printed.err).split())
    assert safe.read(out)[0].keys() == safe.read(path)[0].keys()
    call = ["generate", sd.base, "a <toy>", "--adapter", path, "--steps", 1, "--out", tmp_path]
    assert main([str(part) for part in call]) == 0


def test_fewer_ranks_keep_the_words(sd: ModelFamily, tmp_path: Path) -> None:
    found, path = one_alpha(varied(sd)), tmp_path / "a.safetensors"
    found.embeddings["<toy>.string_to_param.*"] = torch.ones(2, 32)
    writing.write(found, path, "kohya")
    assert run("resize", path, tmp_path / "r.safetensors", "--rank", 1, "--base", sd.base) == 0
    assert opened(tmp_path / "r.safetensors", sd).embeddings.keys() == found.embeddings.keys()


def test_skip_unknown_goes_on_without_and_writes_it_down(
    sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors, header, _ = BROKEN["norms"]
    path, out = tmp_path / "a.safetensors", tmp_path / "o.safetensors"
    save_file(tensors, path, header)
    to = ["--to", "kohya", "--base", sd.base, "--skip-unknown"]
    assert run("convert", path, out, *to) == 0
    assert "without 1 key (norm layers)" in " ".join(capsys.readouterr().out.split())
    kept, written = safe.read(out)
    assert written["kaiffin.skipped"] == "norm layers: lora_unet_mid_block_attentions_0_norm.w_norm"
    assert not any("norm" in key for key in kept)
    assert run("inspect", out, "--base", sd.base) == 0
    call = ["generate", sd.base, "x", "--adapter", path, "--skip-unknown", "--steps", 1, "--out"]
    assert main([str(part) for part in (*call, tmp_path / "p")]) == 0
    picture = next((tmp_path / "p").glob("x-*.png"))
    assert read_recipe(picture)["skip_unknown"] is True
    assert main(["generate", "--from", str(picture), "--out", str(tmp_path / "again")]) == 0
    (again,) = (tmp_path / "again").glob("*.png")
    assert again.read_bytes() == picture.read_bytes()
    save_file({f"{FULL}.diff": torch.ones(32, 32)}, tmp_path / "b.safetensors")
    assert run("convert", tmp_path / "b.safetensors", tmp_path / "c", *to) == 2
    assert "nothing is left" in capsys.readouterr().err


def test_the_file_that_is_named_is_read(sd: ModelFamily, tmp_path: Path) -> None:
    """A second one of PEFT's beside `adapter_model.safetensors`, as programs keep checkpoints."""
    folder = tmp_path / "peft"
    writing.write(one_alpha(varied(sd)), folder, "peft")
    inner = folder / "unet"
    tensors, header = safe.read(inner / "adapter_model.safetensors")
    other = {key: value * 2 for key, value in tensors.items()}
    safe.save(inner / "step-100.safetensors", other, header)
    found = [open_file(inner / name, sd.base, tell=SILENT).file for name in
             ("adapter_model.safetensors", "step-100.safetensors")]  # fmt: skip
    one, two = (next(iter(file.modules.values()))["lora_up.weight"] for file in found)
    assert torch.equal(two, 2 * one)


def test_peft_folders_of_several_towers_are_an_adapter(
    sd: ModelFamily, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To every command, and its picture is made again where the folder has moved."""
    folder, out = tmp_path / "peft", tmp_path / "out"
    writing.write(one_alpha(varied(sd)), folder, "peft")
    assert run("inspect", folder, "--base", sd.base) == 0
    assert run("verify", folder, "--base", sd.base) == 0
    assert run("convert", folder, out / "a.safetensors", "--to", "kohya", "--base", sd.base) == 0
    call = ["generate", sd.base, "x", "--steps", 1, "--out", out, "--adapter"]
    assert main([str(part) for part in (*call, f"{folder}:0.8")]) == 0
    picture = next(out.glob("x-*.png"))
    folder.rename(tmp_path / "moved")
    capsys.readouterr()
    assert main(["generate", "--from", str(picture), "--out", str(out / "again")]) == 0
    assert "is now" in capsys.readouterr().out
    again = next((out / "again").glob("*.png"))
    assert Image.open(again).tobytes() == Image.open(picture).tobytes()
    assert run("inspect", tmp_path, "--base", sd.base) == 2
    assert main([str(part) for part in (*call, tmp_path)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("holds no adapter_model.safetensors. Name a PEFT folder.") == 2
