"""What takes long says how far it is: every wait of a story has a total and comes to it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FEW, grainy_photos

from kaiffin.foundation.hashes import WORTH
from kaiffin.foundation.settings import build, override
from kaiffin.foundation.tell import Progress, Tell
from kaiffin.models import parts
from kaiffin.stories import adapter, train


class Waits(Tell):
    """Every wait by its text."""

    def __init__(self) -> None:
        self.waits: dict[str, Progress] = {}

    @contextlib.contextmanager
    def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
        wait = self.waits[text] = Progress(total)
        yield wait

    @property
    def ends(self) -> dict[str, tuple[int, int | None]]:
        return {text: (wait.done, wait.total) for text, wait in self.waits.items()}


def test_the_waits_of_a_training_and_of_its_file(sd_path: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    grainy_photos(tmp_path / "photos", 3)
    given = {
        "data.photos": str(tmp_path / "photos"), "base.name": str(sd_path), "subject.noun": "thing",
        "data.prior.weight": 1.0, "data.prior.num_images": 2, "data.prior.steps": 1,
        "train.steps": 2, "adapter.rank": 2, "adapter.targets": FEW, "train.tensorboard": False,
    }  # fmt: skip
    heard = Waits()
    made = train.train(build(override({}, given)), tmp_path / "run", tell=heard)
    assert heard.ends == {
        "loading sd, parts": (3, 3), "hashing weights, MB:": (heard.ends["hashing weights, MB:"]),
        "photos": (3, 3), "photos through the base's autoencoder": (3, 3),
        "class pictures": (2, 2), "training": (2, 2),
        "proving by others' code, files": (1, 1),
    }  # fmt: skip
    done, total = heard.ends["hashing weights, MB:"]
    assert done == total
    heard = Waits()
    adapter.resize(made.adapter, tmp_path / "less.safetensors", 1, None, str(sd_path), tell=heard)
    adapter.verify(made.adapter, str(sd_path), tell=heard)
    assert heard.ends["layers"] == (4, 4)
    assert heard.ends["proving by others' code, files"] == (1, 1)


def test_a_large_file_is_hashed_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIFFIN_CACHE", str(tmp_path / "cache"))
    size = WORTH + 2 * parts.MB
    (tmp_path / "a.safetensors").write_bytes(bytes(size))
    steps: list[int] = []

    class Steps(Waits):
        @contextlib.contextmanager
        def progress(self, text: str, total: int | None = None) -> Iterator[Progress]:
            with super().progress(text, total) as wait:
                update = wait.update
                wait.update = lambda done, *_: (steps.append(done), update(done))[1]
                yield wait

    parts.revision([tmp_path / "a.safetensors"], tell=Steps())
    assert len(steps) > 3
    assert steps == sorted(steps)
    assert steps[-1] == size // parts.MB
