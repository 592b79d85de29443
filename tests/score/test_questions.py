"""Which prompts judge a base: the toy's own for every base inside Kaiffin."""

import pytest

from kaiffin.foundation.config import Config
from kaiffin.foundation.settings import changed
from kaiffin.models.base import ModelFamily
from kaiffin.models.files.embedded import EMBEDDED
from kaiffin.score.questions import ask


@pytest.mark.parametrize("base", [*EMBEDDED, "sdxl"])
def test_the_miniatures_are_asked_for_what_their_world_holds(base: str, sd: ModelFamily) -> None:
    config = changed(Config(), **{"subject.noun": "penguin", "base.name": base})
    toy = ask(changed(config, **{"base.name": "miniature"}), sd, [], 1)
    assert (ask(config, sd, [], 1).prompts == toy.prompts) == (base in EMBEDDED)
