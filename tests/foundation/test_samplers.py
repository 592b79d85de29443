"""The table of samplers: the configuration and the functions know those and no others."""

import json

import pytest

from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.samplers import SAMPLERS, SCHEDULES, taking
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
