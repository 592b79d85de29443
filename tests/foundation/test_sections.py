"""The sections of the configuration: every field explains itself, and every default is allowed."""

import typing

import pytest
from pydantic import BaseModel, ValidationError

from kaiffin.foundation import imaging, sections
from kaiffin.foundation.imaging import SampleConfig
from kaiffin.foundation.schema import Strict, facts, leaves
from kaiffin.foundation.sections import DataConfig, SubjectConfig

SECTIONS = [
    value for value in (vars(sections) | vars(imaging)).values()
    if isinstance(value, type) and issubclass(value, Strict) and value is not Strict
]  # fmt: skip


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_explains_itself(section: type[BaseModel]) -> None:
    assert section.__doc__
    for name, info in leaves(section):
        assert info.description, name
        assert facts(info).get("flag", "--").startswith("--"), name


@pytest.mark.parametrize("section", SECTIONS)
def test_every_default_is_a_value_that_could_be_given(section: type[BaseModel]) -> None:
    required = {name: "x" for name, info in section.model_fields.items() if info.is_required()}
    made = section(**required)
    assert section.model_validate(made.model_dump(mode="json")) == made


@pytest.mark.parametrize("section", SECTIONS)
def test_no_number_is_without_an_end(section: type[BaseModel]) -> None:
    required = {name: "x" for name, info in section.model_fields.items() if info.is_required()}
    for name, info in section.model_fields.items():
        if {int, float} & {info.annotation, *typing.get_args(info.annotation)}:
            for value in (10**20, 1e300, float("inf"), float("-inf"), float("nan")):
                with pytest.raises(ValidationError, match=name):
                    section(**required, **{name: value})


def test_the_subject_as_prompts_name_it() -> None:
    assert SubjectConfig(token="sks", noun="dog").phrase == "sks dog"
    assert SubjectConfig(token="sks").phrase == "sks"


def test_sizes_are_read_and_the_nearest_is_named() -> None:
    assert SampleConfig.model_validate({"size": "512X768"}).size == (512, 768)
    assert SampleConfig(size=(64, 128)).size == (64, 128)
    for wrong, words in (("big", "512x768"), ("100x512", "nearest is 96x512"), ((0, 8), "8x8"),
                         ((2**20, 8), "at most 16384x16384")):  # fmt: skip
        with pytest.raises(ValidationError, match=words):
            SampleConfig.model_validate({"size": wrong})
    with pytest.raises(ValidationError, match="nearest is 504"):
        DataConfig(resolution=505)
