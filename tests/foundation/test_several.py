"""Several subjects in one config: what may stand together, and how each is seen."""

from pathlib import Path
from typing import Any

import pytest

from kaiffin.foundation.config import Config
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.paths import anchored
from kaiffin.foundation.run import Run
from kaiffin.foundation.settings import build, changed, dump, load, override
from kaiffin.foundation.several import by_subject, number_of, prior_weight, with_photos
from kaiffin.foundation.whereabouts import by_folder, photo_folders, with_photo_folders

BIRD = {"token": "kai", "noun": "bird", "photos": "birds"}
TOY = {"token": "tobbul", "noun": "bear", "kind": "product", "photos": "toys", "prior_weight": 0.5}


def config_of(*subjects: dict[str, Any], **changes: Any) -> Config:
    return build(override({"subjects": list(subjects or (BIRD, TOY))}, changes))


def test_the_first_is_meant_where_none_is_said(tmp_path: Path) -> None:
    config = config_of()
    assert (config.subject.phrase, config.data.photos) == ("kai bird", Path("birds"))
    assert [one.phrase for one in config.everyone] == ["kai bird", "tobbul bear"]
    (tmp_path / "config.yaml").write_text(dump(config))
    assert load(tmp_path / "config.yaml") == config
    one = Config()
    assert (by_subject(one), one.everyone, number_of(one)) == ([one], (one.subject,), 0)


def test_each_is_seen_as_if_it_were_alone() -> None:
    first, second = by_subject(config_of())
    assert (second.subject.phrase, second.subject.kind) == ("tobbul bear", "product")
    assert (second.data.photos, number_of(first), number_of(second)) == (Path("toys"), 0, 1)
    assert changed(second, **{"train.steps": 5}).subject == second.subject, "it can be changed"
    assert by_folder(config_of()) == [first, second]
    assert [prior_weight(config_of(**{"data.prior.weight": 0.2}), w) for w in ("kai", "tobbul")] \
        == [0.2, 0.5]  # fmt: skip


def test_their_photos_are_found_and_moved_together(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    moved = with_photo_folders(config_of(), folders)
    assert photo_folders(moved) == folders
    assert moved.data.photos == folders[0]
    assert photo_folders(anchored(config_of())) == [Path.cwd() / "birds", Path.cwd() / "toys"]
    listed = with_photos([BIRD, TOY], folders)
    assert [one["photos"] for one in listed] == [str(folder) for folder in folders]
    assert with_photos([], folders) == []


def test_a_run_has_one_name_and_a_choice_for_each(tmp_path: Path) -> None:
    first, second = Run(tmp_path, config_of()).by_subject()
    assert first.adapter_path == second.adapter_path == tmp_path / "kai.safetensors"
    assert [run.choice_path.name for run in (first, second)] == ["choice.json", "choice-2.json"]
    assert second.photos_manifest == tmp_path / "data-2" / "manifest.json"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([BIRD, {**TOY, "token": "KAI"}], "two of subjects have the word 'kai'"),
        ([BIRD, {**TOY, "token": "bird"}], "the word 'bird' is a part of 'kai bird'"),
        ([BIRD, {**TOY, "photos": "birds"}], "two of subjects have the photos in birds"),
        ([BIRD, {"photos": "toys"}], "token .* must be given"),
        ([BIRD, {**TOY, "phtos": "x"}], "unknown setting 'subjects.1.phtos'"),
    ],
)
def test_two_that_cannot_be_told_apart(given: list[dict], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(*given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject.token": "other"}, "are none of subjects"),
        ({"data.photos": "other"}, "are none of subjects"),
        ({"phases": [{"name": "a", "photos": "x"}]}, "phases have no photos of their own"),
        ({"embedding.vectors": 2}, "not with subjects"),
        ({"data.prior.prompt": "a bird"}, "is of one class"),
    ],
)
def test_settings_of_one_subject_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(**changes)


def test_what_asks_for_a_class_asks_for_all() -> None:
    nameless = {"token": "tobbul", "photos": "toys"}
    with pytest.raises(ConfigError, match=r"data\.prior\.weight needs subject\.noun"):
        config_of(BIRD, nameless, **{"data.prior.weight": 0.5})
