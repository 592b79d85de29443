"""Arithmetic on adapter files: sums, fewer ranks, differences. Pure, and without a base.

The update of a layer is `delta = alpha / r * up @ down`; it is never written out for LoRA, since
its products and its singular values follow from the two thin factors (see norms.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kaiffin.adapters import ranks
from kaiffin.adapters.files.norms import Parts, inner, strength
from kaiffin.adapters.files.reading import AdapterFile
from kaiffin.adapters.files.subject import EVERYONE
from kaiffin.adapters.kinds import kind_of, rank_of
from kaiffin.foundation.errors import AdapterError
from kaiffin.foundation.tell import Tell
from kaiffin.models.families.spec import SPECS


def with_one_alpha(adapter: AdapterFile) -> AdapterFile:
    """The same updates with one alpha for all LoRA layers, the commonest; the factor goes into up.

    diffusers 0.42.1 takes one alpha for all attention layers of a kohya file. Exact where the
    alphas differ by powers of two, else to fp32's rounding.
    """
    plain = [p for p in adapter.modules.values() if kind_of(p) == "lora"]
    alphas = [float(parts["alpha"]) for parts in plain]
    if len(set(alphas)) < 2:
        return adapter
    alpha = max(alphas, key=alphas.count)
    modules = {}
    for name, parts in adapter.modules.items():
        factor = float(parts["alpha"]) / alpha if kind_of(parts) == "lora" else 1.0
        if factor != 1.0:
            up = parts["lora_up.weight"] * factor
            parts = {**parts, "lora_up.weight": up, "alpha": torch.tensor(alpha)}
        modules[name] = parts
    return replace(adapter, modules=modules)


def with_all_ranks(adapter: AdapterFile) -> AdapterFile:
    """One update at every timestep in place of one whose ranks depend on it (see ranks.py): their
    mean over all times, which by squares is the nearest to all of them.

    It has the same factors, each rank as strong as the share of times at which it acts. Raises
    AdapterError where the ranks are all at work already.
    """
    schedule = ranks.read(adapter.metadata, adapter.modules)
    if schedule is None:
        raise AdapterError("all its ranks act at every timestep.", "Use it as it is.")
    modules = {}
    for name, parts in adapter.modules.items():
        if ranks.is_timed(name):
            up = parts["lora_up.weight"]
            shares = torch.tensor(schedule.shares(rank_of(parts))).view(
                1, -1, *[1] * (up.dim() - 2)
            )
            parts = {**parts, "lora_up.weight": (up * shares).to(up.dtype)}
        modules[name] = parts
    metadata = {key: value for key, value in adapter.metadata.items() if key != ranks.HEADER}
    return replace(adapter, modules=modules, metadata=metadata)


# --- merge ------------------------------------------------------------------------------------


def merge(adapters: Sequence[tuple[AdapterFile, float]]) -> AdapterFile:
    """The weighted sum of adapters as one, exactly: ranks add up. fp32."""
    first = adapters[0][0]
    for adapter, _ in adapters:
        ranks.refuse(adapter.metadata, "a sum of adapters has one update for all of them")
    modules: dict[str, dict[str, Tensor]] = {}
    for name in dict.fromkeys(n for adapter, _ in adapters for n in adapter.modules):
        present = [(a.modules[name], w) for a, w in adapters if name in a.modules]
        modules[name] = _sum([_plain(name, parts) for parts, _ in present], [w for _, w in present])
    for adapter, _ in adapters:
        if adapter.family != first.family:
            raise AdapterError(f"one is for {first.family}, the other for {adapter.family}.")
        if adapter.embeddings:
            raise AdapterError("bundled tokens cannot be added up.")
    triggers = [a.metadata.get("modelspec.trigger_phrase", "") for a, _ in adapters]
    own = {name: value for name, value in first.metadata.items() if name != EVERYONE}
    metadata = own | {
        "modelspec.trigger_phrase": ", ".join(dict.fromkeys(t for t in triggers if t)),
        "ss_network_dim": str(max(rank_of(parts) for parts in modules.values())),
        "ss_network_alpha": str(max(rank_of(parts) for parts in modules.values())),
    }
    return AdapterFile("kohya", first.family, modules, metadata)


def _sum(present: Sequence[Parts], weights: Sequence[float]) -> dict[str, Tensor]:
    shapes = {(p["lora_down.weight"].shape[1:], p["lora_up.weight"].shape[0]) for p in present}
    if len(shapes) > 1:
        raise AdapterError("the adapters have layers of different shapes: they fit other bases.")
    down = torch.cat([parts["lora_down.weight"].float() for parts in present])
    factors = [w * strength(parts) for parts, w in zip(present, weights, strict=True)]
    ups = [p["lora_up.weight"].float() * f for p, f in zip(present, factors, strict=True)]
    return _factors(down, torch.cat(ups, dim=1))


def _factors(down: Tensor, up: Tensor) -> dict[str, Tensor]:
    alpha = torch.tensor(float(len(down)))  # the strength is in the factors
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": alpha}


def _plain(name: str, parts: Parts) -> Parts:
    if kind_of(parts) != "lora":
        raise AdapterError(
            f"{name} is {kind_of(parts)}; only plain LoRA can be added up or cut down."
        )
    return parts


# --- fewer ranks ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """Singular values of one layer kept and lost. rank: how many were kept."""

    rank: int
    kept: float  # sum of squares
    lost: float

    @property
    def error(self) -> float:
        """Relative error of the update, Frobenius."""
        total = self.kept + self.lost
        return math.sqrt(self.lost / total) if total else 0.0


@dataclass(frozen=True)
class BlockCut:
    """What one block lost. ranks: those that its layers keep, smallest first; error: as `Cut`'s."""

    block: str
    layers: int
    ranks: tuple[int, ...]
    error: float


def by_block(cuts: Mapping[str, Cut], family: str) -> list[BlockCut]:
    """The cuts of layers added up by block."""
    blocks: dict[str, list[Cut]] = {}
    for name, cut in cuts.items():
        blocks.setdefault(SPECS[family].block_of(name), []).append(cut)
    return [
        BlockCut(
            block, len(found), tuple(sorted({cut.rank for cut in found})),
            Cut(0, sum(cut.kept for cut in found), sum(cut.lost for cut in found)).error,
        )
        for block, found in blocks.items()
    ]  # fmt: skip


def resize(
    adapter: AdapterFile, rank: int | None = None, energy: float | None = None, *,
    tell: Tell,
) -> tuple[AdapterFile, dict[str, Cut]]:  # fmt: skip
    """Each layer cut to its best approximation of `rank`, or to `energy` of its squared norm.

    By SVD of the update (Eckart and Young 1936). fp32; returns the file, with its tokens as they
    are, and what each layer lost.
    """
    if not adapter.modules:
        raise AdapterError("has no layers to cut down.")
    ranks.refuse(adapter.metadata, "which of them stay would depend on it, too")
    modules, cuts = {}, {}
    with tell.progress("layers", len(adapter.modules)) as wait:
        for name, parts in adapter.modules.items():
            u, s, vt = _svd(_plain(name, parts))
            shape = parts["lora_down.weight"].shape
            modules[name], cuts[name] = cut(u, s, vt, rank, energy, shape)
            wait.advance()
    top = str(max(c.rank for c in cuts.values()))
    metadata = adapter.metadata | {"ss_network_dim": top, "ss_network_alpha": top}
    tokens = dict(adapter.embeddings)
    return AdapterFile("kohya", adapter.family, modules, metadata, tokens), cuts


def cut(
    u: Tensor, s: Tensor, vt: Tensor, rank: int | None, energy: float | None, down: Sequence[int]
) -> tuple[dict[str, Tensor], Cut]:
    """Factors of the `rank` largest singular values, or of as many as hold `energy`.

    u (out, n), s (n,), vt (n, in * kernel); down: shape that the down factor had.
    """
    squares = s.double().square()
    if energy is not None:
        share = squares.cumsum(0) / squares.sum().clamp(min=1e-300)
        rank = int((share < energy - 1e-12).sum()) + 1
    kept = max(1, min(rank or 1, len(s)))
    root = s[:kept].sqrt()
    up = (u[:, :kept] * root).float()
    shaped = (root[:, None] * vt[:kept]).float().reshape(kept, *down[1:])
    up = up.reshape(*up.shape, *[1] * (len(down) - 2))
    lost = squares[kept:].sum().item()
    return _factors(shaped.contiguous(), up.contiguous()), Cut(
        kept, squares[:kept].sum().item(), lost
    )


def _svd(parts: Parts) -> tuple[Tensor, Tensor, Tensor]:
    """SVD of a LoRA update from QR of its factors: r x r instead of out x in."""
    up = parts["lora_up.weight"].double().flatten(1) * strength(parts)
    down = parts["lora_down.weight"].double().flatten(1)
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    u, s, vt = torch.linalg.svd(r_up @ r_down.T)
    return q_up @ u[:, : len(s)], s, vt[: len(s)] @ q_down.T


# --- difference -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """Of one block: norms of both updates, their cosine, and |a - b| / |a|."""

    block: str
    a: float
    b: float
    cosine: float
    distance: float


def token_distances(a: AdapterFile, b: AdapterFile) -> dict[str, float | None]:
    """|a - b| / |a| of each bundled token; None where only one has it, or they differ in shape."""
    found: dict[str, float | None] = {}
    for name in dict.fromkeys([*a.embeddings, *b.embeddings]):
        one, two = a.embeddings.get(name), b.embeddings.get(name)
        alike = one is not None and two is not None and one.shape == two.shape
        found[name] = ((one - two).norm() / one.norm()).item() if alike else None
    return found


def difference(a: AdapterFile, b: AdapterFile) -> list[Difference]:
    """How two adapters differ, block by block; a layer that one lacks counts as zero there."""
    sums: dict[str, list[float]] = {}
    for name in dict.fromkeys([*a.modules, *b.modules]):
        one, two = a.modules.get(name), b.modules.get(name)
        terms = sums.setdefault(SPECS[a.family].block_of(name), [0.0, 0.0, 0.0])
        if one is not None:
            terms[0] += inner(_plain(name, one), one)
        if two is not None:
            terms[1] += inner(_plain(name, two), two)
        if one is not None and two is not None:
            terms[2] += inner(one, two)
    made = []
    for block, (aa, bb, ab) in sums.items():
        cosine = ab / math.sqrt(aa * bb) if aa > 0 and bb > 0 else 0.0
        distance = math.sqrt(max(0.0, aa + bb - 2 * ab) / aa) if aa > 0 else math.inf
        norms = math.sqrt(max(0, aa)), math.sqrt(max(0, bb))
        made.append(Difference(block, *norms, cosine, distance))
    return made
