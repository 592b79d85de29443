"""Short names that a user gives to bases."""

from pathlib import Path

import pytest

from kaiffin.foundation.errors import MissingWeightsError
from kaiffin.foundation.tell import SILENT
from kaiffin.models.files import resolve, shelf


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIFFIN_HOME", str(tmp_path / "home"))


def test_a_name_means_its_file_from_anywhere(
    tmp_path: Path, sd_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sd_path.parent)
    shelf.add(Path(sd_path.name), "mine")
    monkeypatch.chdir(tmp_path)
    assert resolve.locate("mine", tell=SILENT).path == sd_path
    assert resolve.is_here("mine")
    assert resolve.pinned("mine") == "mine"
    with pytest.raises(MissingWeightsError, match='Did you mean "mine"'):
        resolve.locate("mien", tell=SILENT)


def test_names_that_cannot_be_given(tmp_path: Path) -> None:
    for name, words in {
        "sd15": "is a name of Kaiffin's", "miniature": "is a name of Kaiffin's",
        "a/b": "one word", "": "one word", "../x": "one word", "two words": "one word",
    }.items():  # fmt: skip
        with pytest.raises(MissingWeightsError, match=words):
            shelf.add(tmp_path, name)
    assert not shelf.file().exists()


def test_a_name_is_given_again_only_where_nothing_is_left(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    shelf.add(one, "mine")
    shelf.add(one, "mine")
    with pytest.raises(MissingWeightsError, match=r"is .*one already"):
        shelf.add(two, "mine")
    one.rmdir()
    with pytest.raises(MissingWeightsError, match=r"nothing is there.*--name mine"):
        resolve.locate("mine", tell=SILENT)
    shelf.add(two, "mine")
    assert shelf.find("mine") == two
