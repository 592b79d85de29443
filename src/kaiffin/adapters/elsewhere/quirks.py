"""What other programs make of a file whose keys they know: where it is not what was trained.

Seen when their own code was run on Kaiffin's layers: ComfyUI 0.3.64 and A1111's web UI 1.10.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from torch import Tensor

MAGNITUDES = ".dora_scale"
PROJECTIONS = 4  # of an attention, which is one module in OpenCLIP's text encoder


def quirks_of(state: Mapping[str, Tensor]) -> Iterator[str]:
    """Of an adapter, by `<tower>.<path>.<part>`: a line for each program that changes it."""
    magnitudes = [tensor for key, tensor in state.items() if key.endswith(MAGNITUDES)]
    if magnitudes:
        yield (
            "ComfyUI divides a DoRA's magnitudes by the norm of the weight as it was, not as it is"
            " changed: there it comes out 0.2 to 7 % weaker or stronger"
        )
    if any(len(tensor) > 1 for tensor in magnitudes):
        yield (
            "A1111 takes a DoRA's magnitudes for those of the inputs, where they are of the"
            " outputs: there it is not what was trained"
        )
    if alone := _alone(state):
        yield (
            "A1111 applies the attention of text_encoder_2 only where all four projections of a"
            f" layer are in a file: there it drops {alone} of them"
        )


def _alone(state: Mapping[str, Tensor]) -> int:
    """Projections of OpenCLIP's attention whose three others are not all there."""
    projections = {
        (home, rest.partition(".")[0])
        for home, _, rest in (key.rpartition(".self_attn.") for key in state)
        if home.startswith("text_encoder_2.")
    }
    counts = Counter(home for home, _ in projections)
    return sum(count for count in counts.values() if count < PROJECTIONS)
