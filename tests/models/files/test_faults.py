"""What goes wrong when components are opened, in words."""

from pathlib import Path

import pytest

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.models.files.faults import refuse_missing, unloadable

PLACE = Path("base")


def test_missing_weights_are_counted_and_positions_are_not_missed() -> None:
    refuse_missing(["embeddings.position_ids"], PLACE)
    with pytest.raises(MissingWeightsError, match="base: the weight a is missing"):
        refuse_missing(["a"], PLACE)
    with pytest.raises(MissingWeightsError, match="the weight a and 2 more is missing"):
        refuse_missing(["c", "a", "b", "position_ids"], PLACE)


def test_what_the_libraries_say_of_a_file_in_our_words() -> None:
    lacking = NotImplementedError("Cannot copy out of meta tensor; no data!")
    assert "weights are missing in it" in str(unloadable(PLACE, lacking))
    assert "base: cannot be loaded: why." in str(unloadable(PLACE, ValueError("why")))
