"""The table of samplers: the configuration and the functions know those and no others."""

import json

import pytest

from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.samplers import SAMPLERS, SCHEDULES, elsewhere, taking
from kaiffin.foundation.settings import build
from kaiffin.models.diffusion import samplers as functions
from kaiffin.models.diffusion.schedule import NoiseSchedule


def test_every_sampler_is_a_function_by_its_name() -> None:
    assert set(functions.SAMPLERS) == set(SAMPLERS)


def test_the_schema_names_them_and_a_stray_one_is_refused() -> None:
    schema = SampleConfig.model_json_schema()["properties"]["sampler"]
    assert schema["enum"] == list(SAMPLERS)
    assert json.loads(json.dumps(schema)) == schema
    with pytest.raises(ConfigError, match=r"sample\.sampler = 'plms': is none of ddpm"):
        build({"sample": {"sampler": "plms"}})


def test_no_two_go_by_one_name_elsewhere() -> None:
    assert len({one.a1111 for one in SAMPLERS.values()}) == len(SAMPLERS)
    assert len({one.comfyui for one in SAMPLERS.values()}) == len(SAMPLERS)
    assert len({one.a1111 for one in SCHEDULES.values()}) == len(SCHEDULES)


def test_every_schedule_but_the_bases_own_has_levels() -> None:
    plain = NoiseSchedule.from_config({})
    for name in SCHEDULES:
        assert len(plain.sigmas(3, name)) == 4
    assert plain.spacing in SCHEDULES


def test_options_are_settings() -> None:
    options = {option for one in SAMPLERS.values() for option in one.options}
    assert options <= set(SampleConfig.model_fields)
    assert taking("eta") == ["ddim"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_it_is_known_by_every_name_it_has(name: str) -> None:
    one = SAMPLERS[name]
    for spelled in (name, one.a1111, one.comfyui, one.a1111.upper().replace(" ", "_")):
        assert elsewhere(spelled) == (name, None)


@pytest.mark.parametrize(
    ("sampler", "schedule", "ours"),
    [
        ("DPM++ 2M Karras", "", ("dpm++2m", "karras")),  # A1111 before 1.9
        ("DPM++ 2M", "Align Your Steps", ("dpm++2m", "ays")),
        ("Euler a", "Automatic", ("euler-a", "base")),
        ("DDIM", "", ("ddim", None)),
        ("dpmpp_2m_sde", "sgm_uniform", ("dpm++2m-sde", "trailing")),  # ComfyUI
        ("k_euler_a", "", ("euler-a", None)),  # diffusers, sd-scripts
        ("dpmsolver++", "", ("dpm++2m", None)),
        ("DPMPP_SDE_KARRAS", "", ("dpm++2m-sde", "karras")),  # OneTrainer
        ("UNIPC", "", ("unipc", None)),
        ("Restart", "Turbo", (None, None)),
        ("", "", (None, None)),
    ],
)
def test_names_of_other_programs(
    sampler: str, schedule: str, ours: tuple[str | None, str | None]
) -> None:
    assert elsewhere(sampler, schedule) == ours
