"""A ComfyUI workflow with the loader of an adapter in it, in the format its editor opens.

Format: ComfyUI's workflow JSON, version 0.4: nodes with slots, and links
`[id, from node, from slot, to node, to slot, type]`. What the nodes are like, ComfyUI has said (see
programs.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kaiffin.adapters.elsewhere.programs import program
from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.samplers import SAMPLERS, SCHEDULES

SIZES = {"CLIPTextEncode": [400, 160], "KSampler": [315, 262]}


@dataclass
class _Graph:
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)

    def add(
        self, kind: str, column: int, row: int, settings: Mapping[str, Any],
        **inputs: tuple[int, int],
    ) -> int:  # fmt: skip
        """A node; settings: all of its widgets' values; inputs: name=(node, slot) that it is fed
        by. Returns its id."""
        number, shape = len(self.nodes) + 1, program("comfyui").nodes[kind]
        node = {
            "id": number, "type": kind, "pos": [40 + 450 * column, 80 + 300 * row],
            "size": SIZES.get(kind, [315, 110]), "flags": {}, "order": number - 1, "mode": 0,
            "inputs": [], "properties": {"Node name for S&R": kind},
            "widgets_values": [settings[name] for name in shape.widgets],
            "outputs": [
                {"name": name, "type": name, "links": [], "slot_index": slot}
                for slot, name in enumerate(shape.outputs)
            ],
        }  # fmt: skip
        for slot, (name, wanted) in enumerate(shape.inputs.items()):
            source, output = inputs[name]
            link = len(self.links) + 1
            self.links.append([link, source, output, number, slot, wanted])
            self.nodes[source - 1]["outputs"][output]["links"].append(link)
            node["inputs"].append({"name": name, "type": wanted, "link": link})
        self.nodes.append(node)
        return number


def workflow(
    prompt: str, sample: SampleConfig, *, checkpoint: str, lora: str, size: tuple[int, int],
    v_prediction: bool,
) -> dict[str, Any]:  # fmt: skip
    """The graph: checkpoint -> LoRA -> prompts -> sampler -> picture, on seed 0.

    checkpoint and lora are file names in ComfyUI's own folders; size: where `sample` has none.
    """
    graph = _Graph()
    base = graph.add("CheckpointLoaderSimple", 0, 0, {"ckpt_name": checkpoint})
    strong = {"lora_name": lora, "strength_model": 1.0, "strength_clip": 1.0}
    loader = graph.add("LoraLoader", 1, 0, strong, model=(base, 0), clip=(base, 1))
    model = (loader, 0)
    if v_prediction:
        said = {"sampling": "v_prediction", "zsnr": False}
        model = (graph.add("ModelSamplingDiscrete", 2, 2, said, model=model), 0)
    positive, unwanted = (
        graph.add("CLIPTextEncode", 2, row, {"text": text}, clip=(loader, 1))
        for row, text in enumerate((prompt, sample.negative))
    )
    width, height = sample.size or size
    canvas = {"width": width, "height": height, "batch_size": 1}
    empty = graph.add("EmptyLatentImage", 2, 3, canvas)
    name = SAMPLERS[sample.sampler].comfyui
    scheduler = SCHEDULES[sample.schedule].comfyui or SCHEDULES["leading"].comfyui
    settings = {
        "seed": 0, "control_after_generate": "fixed", "steps": sample.steps,
        "cfg": sample.guidance, "sampler_name": name, "scheduler": scheduler, "denoise": 1.0,
    }  # fmt: skip
    sampled = graph.add(
        "KSampler", 3, 0, settings,
        model=model, positive=(positive, 0), negative=(unwanted, 0), latent_image=(empty, 0),
    )  # fmt: skip
    decoded = graph.add("VAEDecode", 4, 0, {}, samples=(sampled, 0), vae=(base, 2))
    graph.add("SaveImage", 5, 0, {"filename_prefix": "kaiffin"}, images=(decoded, 0))
    return {
        "last_node_id": len(graph.nodes), "last_link_id": len(graph.links),
        "nodes": graph.nodes, "links": graph.links,
        "groups": [], "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip
