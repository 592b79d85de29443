"""A training before its first step."""

from pathlib import Path

import pytest

from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import Tell
from kaiffin.train.session import open_session


def test_a_resolution_is_made_of_whole_cells(folder: Path) -> None:
    """The miniature's are 16 pixels a side; half a cell of each photo would be lost unsaid."""
    given = {"data.photos": folder, "subject.noun": "thing", "data.resolution": 72}
    with pytest.raises(ConfigError, match=r"resolution = 72: .* multiples of 16.*nearest is 64\."):
        open_session(build(override({}, given)), None, tell=Tell())
