"""What a worker leaves for the server: how far it is, and its words without places."""

import json
from pathlib import Path

import pytest
from asked import open_studio, training
from hearing import Heard

from kaiffin.serve.reporter import Reporter
from kaiffin.serve.work import House, work


def test_a_reporter_says_no_places_and_not_too_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = open_studio(tmp_path / "studio")
    job = studio.jobs.submit("ann", "scan", training())
    made = work(studio, job, House(bases={"house": "/models/house.safetensors"}))
    heard = Heard()
    reporter = Reporter(made, heard)
    reporter.note(f"looks at {studio.path}/datasets/abc/1.png with /models/house.safetensors")
    reporter.warning("small")
    assert made.left("progress")["notes"] == ["looks at 1.png with house", "warning: small"]
    assert str(studio.path) in heard.notes[0], "the operator's log has it all"
    said: list[str] = []
    monkeypatch.setattr(
        "kaiffin.serve.reporter.write_bytes", lambda path, data, sync: said.append(data)
    )
    with reporter.progress("steps", 1000) as wait:
        for step in range(1, 1001):
            wait.update(step, text=f"loss {step}")
    assert len(said) < 10
    assert json.loads(said[-1])["done"] == 1000
    assert json.loads(said[-1])["what"] == "steps: loss 1000"
    studio.close()
