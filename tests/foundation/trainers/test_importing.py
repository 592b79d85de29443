"""Others' trainings as configs: inputs of the shape that their own documentation shows."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from elsewhere_trainings import (
    DREAMBOOTH,
    ai_toolkits_file,
    ai_toolkits_process,
    kohyas_gui,
    kohyas_toml,
    kohyas_tree,
    onetrainers_preset,
    sd_scripts,
)

from kaiffin.cli.main import main
from kaiffin.foundation.errors import UserError
from kaiffin.foundation.settings import fields, load
from kaiffin.foundation.trainers.importing import TABLES, Imported, imported, tables, written
from kaiffin.stories.import_training import import_training


def take(source: str, **given: Any) -> Imported:
    return imported(source, given, lambda folder: len(list(folder.glob("*.png"))) or None)


def told(made: Imported, verdict: str) -> set[str]:
    return {one.theirs.partition(" ")[0] for one in made.findings if one.verdict == verdict}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return kohyas_tree(tmp_path)


def big(photos: Path, tmp_path: Path) -> str:
    script = "sdxl_train_network.py"
    return sd_scripts(tmp_path, photos, script=script, base="sdxl.safetensors", side=1024)


def test_a_command_line_of_sd_scripts(photos: Path, tmp_path: Path) -> None:
    made = take(big(photos, tmp_path))
    config = made.config
    assert (config.subject.token, config.subject.noun) == ("kaiffin", "puffin")
    assert config.train.steps == 4 * 10 // 2 * 8
    assert config.train.warmup == 16
    assert config.score.candidates == 4
    assert (config.adapter.rank, config.adapter.alpha) == (32, 16)
    assert config.adapter.targets == "all-linear+conv"
    assert {(rule.rank, rule.alpha) for rule in config.adapter.rules} == {(8, 4)}
    assert config.adapter.text_encoder
    assert (config.train.lr, config.train.text_lr) == (1e-4, 5e-5)
    assert config.train.betas == (0.9, 0.99)
    assert (config.data.prior.weight, config.data.prior.num_images) == (1, 3)
    assert (config.data.crop, config.data.upscale) == ("bucket", True)
    assert (config.sample.clip_skip, config.sample.sampler) == (1, "euler-a")
    assert told(made, "unknown") == {"flying_carpet"}
    assert (config.data.shuffle_tags, config.data.keep_tags) == (True, 1)
    assert "wandb_api_key" in told(made, "none")


def test_a_path_without_quotes_is_refused(photos: Path) -> None:
    call = f"train_network.py --train_data_dir {photos} my photos --optimizer_args a=1 b=2"
    with pytest.raises(UserError, match="is one path, and 3 words") as error:
        take(call)
    assert f'"{photos} my photos"' in str(error.value)


def test_tags_are_kept_only_where_something_is_shuffled(photos: Path) -> None:
    call = f"train_network.py --train_data_dir={photos} --keep_tokens 2"
    made = take(call)
    assert not made.config.data.shuffle_tags
    assert "keep_tokens" in told(made, "differs")
    data = take(f"{call} --caption_tag_dropout_rate 0.1 --random_crop").config.data
    assert (data.tag_dropout, data.keep_tags, data.crops) == (0.1, 2, "random")
    assert take(f"{call.partition(' --keep')[0]} --shuffle_caption").config.data.keep_tags == 0
    made = take(f"{call} --shuffle_caption --keep_tokens_separator=::")
    assert "keep_tokens_separator" in told(made, "none")


def test_nothing_is_dropped_in_silence(photos: Path, tmp_path: Path) -> None:
    source = big(photos, tmp_path)
    spoken = {part for one in take(source).findings
              for part in one.theirs.replace(",", " ").replace("--", "").split()}  # fmt: skip
    flags = [w[2:].partition("=")[0] for w in shlex.split(source) if w.startswith("--")]
    assert set(flags) - {"dataset_config"} <= spoken


def test_what_is_left_out_there_has_their_default(photos: Path) -> None:
    made = take(f"accelerate launch train_network.py --train_data_dir={photos}")
    config = made.config
    assert (config.adapter.rank, config.adapter.alpha) == (4, 1)  # not alpha = rank
    assert (config.train.steps, config.train.schedule) == (1600, "constant")
    assert config.train.lr == 2e-6
    assert config.adapter.text_encoder
    assert (config.subject.token, config.data.format) == ("kaiffin", "kohya")
    assert "network_alpha" in told(made, "default")


def test_a_toml_of_sd_scripts_with_sections(photos: Path, tmp_path: Path) -> None:
    made = take(str(kohyas_toml(tmp_path, photos, "runwayml/stable-diffusion-v1-5")))
    assert made.config.base.name == "sd15"  # that repository is gone
    assert made.config.adapter.kind == "loha"
    assert not made.config.adapter.text_encoder
    assert {"optimizer_type", "network_args"} <= told(made, "none")


def test_what_stands_behind_a_prompt(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    source = f"train_network.py --train_data_dir={photos} --sample_prompts={file}"
    file.write_text(
        "# two\nkaiffin puffin asleep --n blurred --s 12 --l 4 --ss euler_a\na puffin\n"
    )
    sample = take(source).config.sample
    assert sample.preview_prompts == ("{token} {noun} asleep", "a puffin")
    assert (sample.negative, sample.steps, sample.guidance) == ("blurred", 12, 4)
    assert sample.sampler == "euler-a"
    file.write_text("a puffin --ss pndm\n")
    made = take(source)
    assert made.config.sample.sampler == "dpm++2m"
    assert "sample_prompts" in told(made, "none")


def test_the_gui_of_kohya(photos: Path, tmp_path: Path) -> None:
    file = kohyas_gui(tmp_path, photos, "sdxl", side=1024)
    config = take(str(file)).config
    assert config.adapter.kind == "lokr"
    assert (config.train.optimizer, config.train.lr, config.train.warmup) == ("prodigy", 1, 20)
    assert config.train.steps == 200
    assert not config.adapter.text_encoder
    assert config.train.objective.min_snr_gamma is None


def dreambooth(photos: Path, script: str = "train_dreambooth_lora.py", more: str = "") -> Imported:
    return take(DREAMBOOTH.format(script=script, base="miniature", photos=photos, more=more))


def test_a_command_line_of_diffusers(photos: Path) -> None:
    made = dreambooth(photos, more="--with_prior_preservation --class_prompt='a photo of dog'")
    config = made.config
    assert config.data.template == "a photo of {token} {noun} in a bucket"
    assert (config.subject.token, config.subject.noun) == ("sks", "dog")
    assert config.sample.preview_prompts == ("A photo of {token} {noun} at a lake",)
    assert (config.adapter.rank, config.adapter.alpha, config.adapter.targets) == (
        4, 4, "attention",
    )  # fmt: skip
    assert (config.data.resolution, config.train.accumulate) == (512, 4)
    assert config.data.crops == "random"
    assert dreambooth(photos, more="--center_crop").config.data.crops == "fixed"
    assert (config.data.prior.weight, config.data.prior.num_images) == (1, 100)
    assert config.data.prior.prompt == "a photo of dog"
    assert "push_to_hub" in told(made, "none")


def test_the_advanced_script_with_pivotal_tuning(photos: Path) -> None:
    script = "train_dreambooth_lora_sdxl_advanced.py"
    more = "--train_text_encoder_ti --token_abstraction=TOK --optimizer=prodigy --use_dora"
    config = dreambooth(photos, script, more).config
    assert (config.embedding.vectors, config.subject.token) == (2, "TOK")
    assert (config.train.optimizer, config.adapter.kind) == ("prodigy", "dora")
    assert config.data.resolution == 1024


def test_ai_toolkit(photos: Path, tmp_path: Path) -> None:
    process = ai_toolkits_process(photos, "sdxl")
    file = ai_toolkits_file(tmp_path, process)
    made = take(str(file))
    config = made.config
    assert (config.subject.token, config.data.resolution) == ("k4iffin", 768)
    assert (config.adapter.rank, config.adapter.alpha) == (16, 8)
    assert (config.score.candidates, config.train.ema) == (4, 0.99)
    assert config.sample.preview_prompts == ("{token} on a cliff",)
    assert config.sample.size == (768, 512)
    assert "sample.walk_seed" in told(made, "none")
    assert config.train.objective.keep is None
    kept = {"diff_output_preservation": True, "diff_output_preservation_multiplier": 0.5}
    for more, share, noun in (
        ({"diff_output_preservation_class": "dog"}, 1.0, "dog"),
        ({}, 0.25, ""),
    ):
        process["train"] = {**process["train"], **kept, **more}
        config = take(str(ai_toolkits_file(tmp_path, process))).config
        goal = config.train.objective
        assert (goal.keep, goal.keep_share) == (0.5 if noun else None, share)
        assert config.subject.noun == noun
        kept["diff_output_preservation_class"] = ""
    flux = {"name_or_path": "black-forest-labs/FLUX.1-dev", "is_flux": True}
    file = ai_toolkits_file(tmp_path, {**process, "model": flux})
    with pytest.raises(UserError, match=r"another model .flux"):
        take(str(file))


def test_onetrainer(photos: Path, tmp_path: Path) -> None:
    preset = onetrainers_preset(tmp_path, photos / "10_kaiffin puffin", "sd15")
    file = tmp_path / "preset.json"
    file.write_text(json.dumps(preset))
    config = take(str(file), **{"subject.token": "kaiffin"}).config
    assert (config.adapter.rank, config.adapter.alpha) == (16, 1)
    assert config.train.steps == 4 * 5 // 4 * 10
    assert (config.data.flip, config.data.crop) == (True, "bucket")
    assert (config.data.shuffle_tags, config.data.keep_tags, config.data.rotate) == (True, 2, 4)
    assert config.data.tag_dropout == 0.1
    assert config.train.objective.min_snr_gamma == 5
    assert config.adapter.text_encoder
    assert config.train.optimizer == "prodigy"
    assert (config.sample.sampler, config.sample.schedule) == ("dpm++2m-sde", "karras")
    assert config.sample.preview_prompts == ("{token} at a lake",)
    file.write_text(json.dumps({**preset, "training_method": "FINE_TUNE"}))
    with pytest.raises(UserError, match="no adapter"):
        take(str(file))


@pytest.mark.parametrize("program", TABLES)
def test_the_tables_name_settings_that_are_there(program: str) -> None:
    known = set(dict(fields())) | {"phases[].train", "data.prior"}
    for row in TABLES[program].ROWS:  # type: ignore[index]
        for word in row.ours.replace(",", " ").replace(":", " ").split():
            if "." in word and not word.startswith("."):
                assert word in known, row


def test_the_written_config_is_the_one_that_was_made(photos: Path, tmp_path: Path) -> None:
    made = dreambooth(photos)
    file = tmp_path / "made.yaml"
    file.write_text(written(made, "a command line"))
    assert load(file) == made.config
    assert "#   push_to_hub: `kaiffin publish" in file.read_text()


def test_the_command(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    text = DREAMBOOTH.format(script="train_dreambooth_lora.py", base="miniature", more="",
                             photos=photos / "10_kaiffin puffin")  # fmt: skip
    (tmp_path / "dog.sh").write_text(text + " --hub_token=hf_hidden\n")
    words = ["--steps", "20", "--data.resolution", "64", "--base.dtype", "fp32"]
    assert main(["import", "dog.sh", *words]) == 0
    shown = capsys.readouterr().out
    assert "no counterpart" in shown
    assert "kaiffin train dog.yaml --dry-run" in shown
    assert "hf_hidden" not in shown + (tmp_path / "dog.yaml").read_text()
    assert load(tmp_path / "dog.yaml").train.steps == 20
    assert main(["import", "dog.sh"]) == 2  # is there already
    with pytest.raises(UserError, match="is no file and no command line"):
        import_training("nothing.toml")


def test_the_page_of_all_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "--table"]) == 0
    assert capsys.readouterr().out.strip() == tables()
    assert "| `network_alpha` | `adapter.alpha` | left out there: 1.0 |" in tables()
