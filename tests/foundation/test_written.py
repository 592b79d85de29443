"""What people write arrives as they mean it: by flag, in YAML and TOML, and after a round trip."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kaiffin.cli.main import main
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.schema import leaves
from kaiffin.foundation.sections import LayerRule, PhaseConfig
from kaiffin.foundation.settings import build, dump, fields, flat, load, override, read_yaml
from kaiffin.foundation.written import meant, read

ODD = (
    "2024", "null", "~", "none", "1e3", "yes", "no", "on", "a: b", "#x", "dog #2", " x ", "1_000",
    "[a", "{b", "- c", "'", '"', "!tag", "&a", "*a", "%", "@", "`", "<<", "=", "0x1F", "010",
    "12:30", "2023-01-01", ".inf", "nan", "a\\b", "C:\\x", "é", "🐧", "true", "...", "---",
    "x" * 300 + "  y", "a\tb", "a\nb", "\u2028", "\ufeff", "\x85",
)  # fmt: skip
# What a file or a path can hold: no half characters, and no NUL.
texts = st.one_of(
    st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
).filter(bool)
TEXTS = ("subject.noun", "base.vae", "sample.negative", "adapter.targets", "data.prior.prompt")
PATHS = ("data.photos", "adapter.init_from", "score.like", "score.prompts")


@given(st.sampled_from((*TEXTS, *PATHS)), texts)
def test_any_text_arrives_unchanged(name: str, text: str) -> None:
    config = build(override({}, {name: text}))
    assert flat(config)[name] == (str(Path(text)) if name in PATHS else text)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from((*TEXTS, *PATHS)), texts)
def test_any_text_survives_a_dump(tmp_path_factory: Any, name: str, text: str) -> None:
    config = build(override({}, {name: text, "data.template": text.replace("{", "")}))
    path = tmp_path_factory.mktemp("dump") / "config.yaml"
    path.write_bytes(dump(config).encode())
    assert load(path) == config
    if "\x7f" not in text:  # which YAML wants escaped and JSON does not
        path.write_bytes(json.dumps({name: text}).encode())
        assert flat(load(path))[name] == flat(config)[name], "JSON is YAML, too"


@pytest.mark.parametrize("text", ["2024", "1e3", "yes", "No", "1_000", "010", "12:30", ".inf", "="])
def test_a_word_of_yaml_without_quotes_is_what_was_written(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"data: {{photos: {text}}}\nsubject: {{token: {text}}}\n")
    config = load(path)
    assert (config.data.photos, config.subject.token) == (Path(text), text)


NO_NUMBERS = ("yes", "true", "fast", "0,8", "80%", "nan", "inf", "-.inf", "1e999", "1.0.0", "[1]")


@pytest.mark.parametrize(
    "name", [n for n, i in fields() if i.annotation in (int, float, int | None, float | None)]
)
def test_what_is_no_number_is_said_to_be_none(name: str) -> None:
    for text in NO_NUMBERS:
        nested: Any = text
        for part in reversed(name.split(".")):
            nested = {part: nested}
        for data in (override({}, {name: text}), nested, meant(yaml_of(name, text), object)):
            with pytest.raises(ConfigError) as caught:
                build(data, "my.yaml")
            said = str(caught.value)
            assert f"my.yaml: {name} = " in said or name == "version"
            assert "number" in said or name == "version"


def yaml_of(name: str, value: object) -> dict[str, Any]:
    return {name: value}  # dotted, as a file may have it


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("train.steps", "1_000", 1000), ("train.steps", "1e3", 1000), ("train.steps", " 20 ", 20),
        ("train.lr", "1e-4", 1e-4), ("train.lr", ".5", 0.5), ("train.lr", "1E-4", 1e-4),
        ("train.steps", "010", 10), ("train.ema", "null", None), ("train.schedule", "null", None),
        ("data.flip", "yes", True), ("data.flip", "off", False), ("data.flip", "1", True),
        ("base.quantize", "none", "none"),
        ("adapter.layouts", "peft,diffusers", ["peft", "diffusers"]),
        ("adapter.layouts", "[peft]", ["peft"]), ("adapter.layouts", "peft", ["peft"]),
        ("train.betas", "0.9,0.99", [0.9, 0.99]), ("train.betas", "[0.9, 0.99]", [0.9, 0.99]),
        ("sample.size", "512x768", [512, 768]), ("sample.size", "[512, 768]", [512, 768]),
        ("sample.preview_prompts", "a cat, a dog", ["a cat, a dog"]),
        ("sample.preview_prompts", "[a cat, 2024]", ["a cat", "2024"]),
    ],
)  # fmt: skip
def test_flags_and_files_mean_the_same(tmp_path: Path, name: str, text: str, value: object) -> None:
    assert flat(build(override({}, {name: text})))[name] == value
    path = tmp_path / "c.yaml"
    path.write_text(f"{name}: {text}\n")
    assert flat(load(path))[name] == value


def test_lists_of_sections_are_written_as_json_or_yaml() -> None:
    rules = '[{"layers": "unet.*", "rank": 4}, {layers: 2024, skip: yes}]'
    config = build(override({}, {"adapter.rules": rules}))
    assert config.adapter.rules == (
        LayerRule(layers="unet.*", rank=4), LayerRule(layers="2024", skip=True),
    )  # fmt: skip
    config = build(override({}, {"phases": "[{name: one, photos: 2024, train: unet}]"}))
    assert config.phases == (PhaseConfig(name="one", photos=Path("2024"), train=("unet",)),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {steps: 1}\ndata: {}\ntrain: {lr: 1}", "line 3: train: stands in line 1 already"),
        ("train:\n  lr: 1\n  steps: 2\n  lr: 3", "line 4: lr: stands in line 2 already"),
        ("phases:\n- name: a\n  lr: 1\n  lr: 2", "line 4: lr: stands in line 3"),
        ("train.steps: 1\ntrain: {steps: 2}", "train.steps stands twice"),
        ("[train]\nsteps = 20", "looks like TOML"), ("steps = 20", "looks like TOML"),
        ("train: 5", "train = '5': is not a section"), ("- a", "holds a list"),
        ("train: [", "line 1: not valid YAML"), ("adapter: {kind: lroa}", 'nearest is "lora"'),
        ("train: {lr: 0,8}", "train"), ("train: {lr: '0,8'}", "is not a number; write 0.8"),
        ("data: {photos: [a, b]}", "data.photos = ['a', 'b']: is not text"),
        ("version: 2", "version 2 is not the version 1"), ("\udcff", "is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "~", "train:\nsubject:\n", 'version: "1"', "\ufeff# nothing"])
def test_what_is_empty_is_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    assert load(path) == build({})


def test_toml_is_read_as_yaml_is(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        'train.lr = 1e-4\n[data]\nphotos = "2024"\n[train.objective]\nhuber_delta = 1\n'
    )
    config = load(path)
    assert (config.train.lr, config.data.photos) == (1e-4, Path("2024"))
    assert config.train.objective.huber_delta == 1
    for text, said in (
        ("[a]\n[a]", "not valid TOML"), ("[data]\nphotos = 2024", "put it in quotes"),
        ("[train]\nsteps = true", "is not a whole number"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            load(path)


def test_merges_and_anchors_of_yaml_still_hold(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("a: &a {x: 1, y: no}\nb: {<<: *a, y: 2.5}\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": "no"}, "b": {"x": 1, "y": 2.5}}


@given(st.dictionaries(st.text("abc.", min_size=1), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("a1.: #-[]{}'\"\n"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner), max_leaves=5,
)))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_mapping_is_read_or_refused(tmp_path_factory: Any, data: dict) -> None:
    path = tmp_path_factory.mktemp("any") / "c.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert set(read(path)) == set(data)
    sections = {name: next(iter(data.values()), None) for name in ("train", "data", "phases")}
    for given_data in (data, sections):
        with contextlib.suppress(ConfigError):  # and nothing else
            build(given_data, "my.yaml")


def test_the_shell_s_folder_is_the_one_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("dog #2", "2024", "no", "1e5", "a: b"):
        assert main(["train", "x", "--data.photos", name, "--dry-run"]) == 2
        assert f"{name}" in capsys.readouterr().err


def test_entries_of_lists_have_fields_too() -> None:
    for model in (LayerRule, PhaseConfig):
        for _, info in leaves(model):
            assert meant("x", info.annotation) in ("x", ["x"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 1100, "c.yaml: not valid YAML: it is nested too deeply"),
        ("a: &a {b: *a}", "c.yaml: a part of it holds itself"),
    ],
)
def test_what_has_no_end_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_yaml(tmp_path / "c.yaml")


EMPTY = {
    "data.photos": None, "adapter.init_from": None, "sample.preview_prompts": (),
    "adapter.layouts": (), "phases": (), "train.lr": None,
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_nothing_is_nothing_by_flag_and_in_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    written = ["", "~"] + (['""'] if name in PATHS else [])
    for text in written:
        path.write_text(f"{name}: {text}\n")
        assert value_of(load(path), name) == EMPTY[name]
    assert value_of(build(override({}, {name: ""})), name) == EMPTY[name]


def value_of(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("sample.preview_prompts", "[{token} x]", "is no list that can be read: expected"),
        ("phases", "[{name: a, name: b}]", "is no list that can be read: name: stands in line 1"),
        ("adapter.rules", "[" * 1100 + "]", "is no list that can be read: it is nested too"),
        ("train.betas", "2,3", "must be from 0 to below 1, both"),
        ("train.betas", "[-1, 0.9]", "must be from 0 to below 1, both"),
        ("train.betas", "0.9,0.9,0.9", "has 3 entries, and at most 2 are read"),
        ("sample.preview_seed", str(2**63), f"must be below {2**63}"),
        ("train.seed", "9" * 5000, "is not a whole number"),
    ],
)
def test_lists_and_numbers_that_are_none(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(override({}, {name: text}), "my.yaml")
    assert f"{name} = " in str(caught.value)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_text_may_begin_as_a_list_does() -> None:
    for text in ("{token} a", "[a", "{token}"):
        assert build(override({}, {"sample.preview_prompts": text})).sample.preview_prompts == (
            text,
        )
