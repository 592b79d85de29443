"""The ComfyUI workflow: a sound graph of ComfyUI's own nodes, fed with the run's values."""

import json
from pathlib import Path

import pytest
from conftest import FEW

from kaiffin.adapters.elsewhere.comfy import workflow
from kaiffin.adapters.elsewhere.programs import program
from kaiffin.cli.main import main
from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.samplers import SAMPLERS

NODES = program("comfyui").nodes


@pytest.mark.parametrize("v_prediction", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_graph_is_sound(sampler: str, v_prediction: bool) -> None:
    sample = SampleConfig(negative="blurry", size=(512, 768), sampler=sampler)
    made = workflow(
        "a puffin", sample, checkpoint="c.safetensors", lora="l.safetensors", size=(64, 64),
        v_prediction=v_prediction,
    )  # fmt: skip
    nodes = {node["id"]: node for node in made["nodes"]}
    kinds = {node["type"] for node in nodes.values()}
    assert kinds == set(NODES) - ({"ModelSamplingDiscrete"} if not v_prediction else set())
    for node in nodes.values():
        shape = NODES[node["type"]]
        assert {slot["name"]: slot["type"] for slot in node["inputs"]} == shape.inputs
        assert [slot["type"] for slot in node["outputs"]] == shape.outputs
        for value, (name, choices) in zip(
            node["widgets_values"], shape.widgets.items(), strict=True
        ):
            assert not choices or value in choices, name
    for link, source, out, target, slot, kind in made["links"]:
        assert nodes[source]["outputs"][out]["type"] == kind
        assert link in nodes[source]["outputs"][out]["links"]
        assert nodes[target]["inputs"][slot] == {
            "name": nodes[target]["inputs"][slot]["name"], "type": kind, "link": link,
        }  # fmt: skip
    assert made["last_link_id"] == len(made["links"])


def test_export_of_a_run(
    sd_path: Path, photos6: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    call = ["train", str(photos6), "--base", str(sd_path), "--steps", "1", "--out", str(run)]
    call += ["--adapter.targets", FEW, "--data.prior.weight", "0"]
    assert main([*call, "--class", "puffin", "--subject", "kaiffin"]) == 0
    assert main(["adapter", "export-comfy", str(run)]) == 0
    assert "models/loras/kaiffin.safetensors" in capsys.readouterr().out
    made = json.loads((run / "kaiffin.comfyui.json").read_text())
    by_kind = {node["type"]: node["widgets_values"] for node in made["nodes"]}
    assert by_kind["LoraLoader"] == ["kaiffin.safetensors", 1.0, 1.0]
    texts = [n["widgets_values"][0] for n in made["nodes"] if n["type"] == "CLIPTextEncode"]
    assert texts == ["a photo of kaiffin puffin", ""]
    assert main(["adapter", "export-comfy", str(tmp_path)]) == 2
