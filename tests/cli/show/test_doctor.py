"""What a checkup looks like: a line a thing, the way out below what is broken."""

import pytest

from kaiffin.cli.show.doctor import checkup
from kaiffin.stories.doctor import Checkup, Fact


def test_a_broken_thing_is_marked_and_has_its_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    facts = (Fact("0.1.0", name="kaiffin"), Fact("1 GB free", False, "Free some.", name="disk"))
    checkup(Checkup(facts))
    assert capsys.readouterr().out.splitlines() == [
        "  kaiffin  0.1.0", "! disk     1 GB free", "           Free some.", "not well: disk",
    ]  # fmt: skip
    checkup(Checkup(facts[:1]))
    assert capsys.readouterr().out.endswith("all is well\n")
