"""A ComfyUI workflow with the loader of an adapter in it, in the format its editor opens.

Format: ComfyUI's workflow JSON, version 0.4: nodes with slots, and links
`[id, from node, from slot, to node, to slot, type]`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kaiffin.foundation.config import SampleConfig
from kaiffin.foundation.samplers import SAMPLERS

SIZES = {"CLIPTextEncode": [400, 160], "KSampler": [315, 262]}


@dataclass
class _Graph:
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)

    def add(
        self, kind: str, column: int, row: int, widgets: list[Any], outputs: list[str],
        **inputs: tuple[int, int],
    ) -> int:  # fmt: skip
        """A node; inputs: name=(node, slot) that it is fed by. Returns its id."""
        number = len(self.nodes) + 1
        node = {
            "id": number, "type": kind, "pos": [40 + 450 * column, 80 + 300 * row],
            "size": SIZES.get(kind, [315, 110]), "flags": {}, "order": number - 1, "mode": 0,
            "inputs": [], "properties": {"Node name for S&R": kind}, "widgets_values": widgets,
            "outputs": [
                {"name": name, "type": name, "links": [], "slot_index": slot}
                for slot, name in enumerate(outputs)
            ],
        }  # fmt: skip
        for slot, (name, (source, output)) in enumerate(inputs.items()):
            feeding = self.nodes[source - 1]["outputs"][output]
            link = len(self.links) + 1
            self.links.append([link, source, output, number, slot, feeding["type"]])
            feeding["links"].append(link)
            node["inputs"].append({"name": name, "type": feeding["type"], "link": link})
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
    base = graph.add("CheckpointLoaderSimple", 0, 0, [checkpoint], ["MODEL", "CLIP", "VAE"])
    loader = graph.add(
        "LoraLoader", 1, 0, [lora, 1.0, 1.0], ["MODEL", "CLIP"], model=(base, 0), clip=(base, 1)
    )
    model = (loader, 0)
    if v_prediction:
        widgets = ["v_prediction", False]
        model = (graph.add("ModelSamplingDiscrete", 2, 2, widgets, ["MODEL"], model=model), 0)
    positive, unwanted = (
        graph.add("CLIPTextEncode", 2, row, [text], ["CONDITIONING"], clip=(loader, 1))
        for row, text in enumerate((prompt, sample.negative))
    )
    empty = graph.add("EmptyLatentImage", 2, 3, [*(sample.size or size), 1], ["LATENT"])
    name, scheduler = SAMPLERS[sample.sampler].comfyui
    settings = [0, "fixed", sample.steps, sample.guidance, name, scheduler, 1.0]
    sampled = graph.add(
        "KSampler", 3, 0, settings, ["LATENT"],
        model=model, positive=(positive, 0), negative=(unwanted, 0), latent_image=(empty, 0),
    )  # fmt: skip
    decoded = graph.add("VAEDecode", 4, 0, [], ["IMAGE"], samples=(sampled, 0), vae=(base, 2))
    graph.add("SaveImage", 5, 0, ["kaiffin"], [], images=(decoded, 0))
    return {
        "last_node_id": len(graph.nodes), "last_link_id": len(graph.links),
        "nodes": graph.nodes, "links": graph.links,
        "groups": [], "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip
