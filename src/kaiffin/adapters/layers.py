"""What an adapter puts beside one Linear or Conv2d: LoRA and its relatives, one class each.

The parts bear kohya's and LyCORIS' names and shapes, so that a file holds what is trained. Only
LoRA adds to the output without writing its update out; the others need the updated weight itself
and make it anew in the backward pass, which costs time and no memory.

| kind | update of the weight W (out, in) | source (arXiv) |
|---|---|---|
| lora | alpha / r * up @ down | Hu et al. 2021, 2106.09685 |
| dora | m * V / norm(V) - W with V = W + alpha / r * up @ down | Liu et al. 2024, 2402.09353 |
| loha | alpha / r * (w1_a @ w1_b) * (w2_a @ w2_b), by number | Hyeon-Woo et al. 2021, 2108.06098 |
| lokr | alpha / r * kron(w1, w2_a @ w2_b) | Yeh et al. 2023, 2309.14859 |
| oft | R^T W - W, R block diagonal, Cayley of skew blocks | Qiu et al. 2023, 2306.07280 |
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kaiffin.adapters import kinds
from kaiffin.adapters.kinds import Size, rank_of, shapes_of
from kaiffin.foundation.errors import ConfigError
from kaiffin.foundation.runtime import dropped


class Layer(nn.Module):
    """The trainable weights beside one target. parts: attribute -> name in a file."""

    kind: ClassVar[str]
    parts: ClassVar[Mapping[str, str]]
    fast: ClassVar[tuple[str, ...]] = ()  # those that LoRA+ gives a higher rate
    name = ""  # of the target: what its drop-out differs by from other layers'

    def __init__(self, target: nn.Module, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.size = weight_size(target)
        self.rank, self.alpha, self.dropout = rank, float(alpha), dropout
        device = next(target.parameters()).device
        named = {part: name for name, part in self.parts.items()}
        for part, shape in self.shapes().items():
            self.register_parameter(named[part], nn.Parameter(torch.zeros(shape, device=device)))

    @classmethod
    def fresh(cls, target: nn.Module, rank: int, alpha: float, dropout: float) -> Layer:
        """A layer to be trained, all zeros until `reset`."""
        return cls(target, rank, alpha, dropout)

    @classmethod
    def of_parts(cls, target: nn.Module, found: Mapping[str, Tensor]) -> Layer:
        """A layer of the ranks and shapes of `found`; the values are loaded by the adapter."""
        rank, alpha = rank_of(found), found.get("alpha")
        return cls(target, rank, float(rank if alpha is None else alpha))

    def shapes(self) -> dict[str, Size]:
        """Shape of each weight, by its name in a file, in the order of training."""
        raise NotImplementedError

    def reset(self, rng: torch.Generator, target: nn.Module) -> None:
        """Fresh weights, with which the adapted model is the base."""
        raise NotImplementedError

    def weight_update(self, target: Any) -> Tensor:
        """What is added to the target's weight, in its shape, fp32."""
        raise NotImplementedError

    def tensors(self) -> dict[str, nn.Parameter]:
        """Weights by their names in a file."""
        present = dict(self.named_parameters())
        return {part: present[name] for name, part in self.parts.items() if name in present}

    def add_to(
        self, out: Tensor, x: Tensor, target: Any, scale: float, acting: Tensor | None = None
    ) -> Tensor:
        """out + scale * update(x), in the dtype of `out`. acting: (B, rank), which ranks of a LoRA
        act for each row of the batch; all, where it is not said."""
        if acting is not None:
            raise TypeError(f"{self.kind} has no ranks that could be left out")
        x = dropped(x, self.dropout, self.name) if self.dropout and self.training else x

        def path(x: Tensor) -> Tensor:
            weight = self.weight_update(target).to(x.dtype)
            if weight.dim() == 4:
                return F.conv2d(x, weight, None, target.stride, target.padding, target.dilation)
            return F.linear(x, weight)

        if torch.is_grad_enabled():
            added: Any = checkpoint(path, x, use_reentrant=False)
        else:
            added = path(x)
        return out.add(added.to(out.dtype), alpha=scale)


def weight_size(target: nn.Module) -> Size:
    """Shape of its weight, also where a quantized one is packed otherwise."""
    if isinstance(target, nn.Linear):
        return target.out_features, target.in_features
    if isinstance(target, nn.Conv2d) and target.groups == 1:
        return target.out_channels, target.in_channels, *target.kernel_size
    raise ConfigError(f"no adapter for a {type(target).__name__} with groups.")


def _uniform(shape: torch.Size, rng: torch.Generator) -> Tensor:
    """Kaiming-uniform with a = sqrt(5), as the reference implementations begin."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return (torch.rand(shape, generator=rng) * 2 - 1) * bound


class LoraLayer(Layer):
    """down: (r, in) or (r, in, kh, kw); up: (out, r) or (out, r, 1, 1), zero at the start."""

    kind = "lora"
    parts: ClassVar = {"down": "lora_down.weight", "up": "lora_up.weight"}
    fast = ("up",)
    down: nn.Parameter
    up: nn.Parameter

    def shapes(self) -> dict[str, Size]:
        return kinds.lora(self.size, self.rank)

    @torch.no_grad()
    def reset(self, rng: torch.Generator, target: nn.Module) -> None:
        self.down.copy_(_uniform(self.down.shape, rng))
        self.up.zero_()

    def add_to(
        self, out: Tensor, x: Tensor, target: Any, scale: float, acting: Tensor | None = None
    ) -> Tensor:
        x = dropped(x, self.dropout, self.name) if self.dropout and self.training else x
        down, up = self.down.to(x.dtype), self.up.to(out.dtype)
        factor = scale * self.alpha / self.rank
        if isinstance(target, nn.Conv2d):
            hidden = F.conv2d(x, down, None, target.stride, target.padding, target.dilation)
            hidden = hidden if acting is None else hidden * acting[..., None, None]
            return out.add(F.conv2d(hidden.to(out.dtype), up), alpha=factor)
        hidden = F.linear(x, down)
        if acting is not None:
            hidden = hidden * acting.view(len(acting), *[1] * (x.dim() - 2), -1)
        hidden = hidden.to(out.dtype).flatten(0, -2)
        return torch.addmm(out.flatten(0, -2), hidden, up.t(), alpha=factor).view_as(out)

    def weight_update(self, target: Any) -> Tensor:
        update = self.up.flatten(1) @ self.down.flatten(1)
        return update.view(self.size) * (self.alpha / self.rank)


class Decomposed(Layer):
    """DoRA's part, before any other kind: the updated weight's rows have a learnt length.

    magnitude: (out, 1[, 1, 1]); or, in files of LyCORIS with `wd_on_out` off, that of its columns:
    (1, in[, 1, 1]).
    """

    magnitude: nn.Parameter
    axis = 0  # of the weight, along which the magnitudes lie

    @classmethod
    def of_parts(cls, target: nn.Module, found: Mapping[str, Tensor]) -> Layer:
        made: Any = super().of_parts(target, found)
        if kinds.magnitude_axis(made.size, found["dora_scale"].shape):
            made.axis = 1
            made.magnitude = nn.Parameter(made.magnitude.new_zeros(made.magnitude_size))
        return made

    @property
    def magnitude_size(self) -> Size:
        return kinds.magnitude(self.size, self.axis)

    def shapes(self) -> dict[str, Size]:
        return super().shapes() | {"dora_scale": self.magnitude_size}

    @torch.no_grad()
    def reset(self, rng: torch.Generator, target: Any) -> None:
        super().reset(rng, target)
        self.magnitude.copy_(self._norms(target.weight.float()))

    def weight_update(self, target: Any) -> Tensor:
        base = target.weight.float()
        moved = base + super().weight_update(target)
        # The norm is a constant for the gradient (section 4.3 of the paper).
        return self.magnitude * moved / self._norms(moved.detach()) - base

    def _norms(self, weight: Tensor) -> Tensor:
        """In the magnitude's shape: the length of each output's weights, or of each input's."""
        others = tuple(i for i in range(weight.dim()) if i != self.axis)
        return torch.linalg.vector_norm(weight, dim=others, keepdim=True)


class DoraLayer(Decomposed, LoraLayer):
    """LoRA whose updated weight has rows of a learnt length."""

    kind = "dora"
    parts: ClassVar = {**LoraLayer.parts, "magnitude": "dora_scale"}
    add_to = Layer.add_to


class LohaLayer(Layer):
    """Product, number by number, of two low-rank matrices: rank up to r^2 for twice the weights."""

    kind = "loha"
    parts: ClassVar = {name: f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b")}
    w1_a: nn.Parameter
    w1_b: nn.Parameter
    w2_a: nn.Parameter
    w2_b: nn.Parameter

    def shapes(self) -> dict[str, Size]:
        return kinds.loha(self.size, self.rank)

    @torch.no_grad()
    def reset(self, rng: torch.Generator, target: nn.Module) -> None:
        for weight, std in ((self.w1_b, 1.0), (self.w1_a, 0.1), (self.w2_b, 1.0)):
            weight.copy_(torch.randn(weight.shape, generator=rng) * std)
        self.w2_a.zero_()

    def weight_update(self, target: Any) -> Tensor:
        update = (self.w1_a @ self.w1_b) * (self.w2_a @ self.w2_b)
        return update.view(self.size) * (self.alpha / self.rank)


class LokrLayer(Layer):
    """Kronecker product of a small whole matrix w1 and of w2, whole or of low rank.

    w1: (a, b), w2: (out / a, in / b * kernel); a and b are the largest divisors of out and in that
    are not above their roots. Where the rank is no saving, w2 is whole, rank is 0 and alpha unused.
    """

    kind = "lokr"
    parts: ClassVar = {
        name: f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b")
    }

    def __init__(
        self, target: nn.Module, rank: int, alpha: float, dropout: float = 0.0,
        found: Mapping[str, Size] | None = None,
    ) -> None:  # fmt: skip
        self.found = found
        super().__init__(target, rank, alpha, dropout)
        if found is None and hasattr(self, "w2"):
            self.rank = 0

    @classmethod
    def of_parts(cls, target: nn.Module, found: Mapping[str, Tensor]) -> Layer:
        rank, shapes = rank_of(found), shapes_of(weight_size(target), found)
        shapes = {part: shapes[part] for part in cls.parts.values() if part in shapes}
        return cls(target, rank, float(found.get("alpha", torch.tensor(rank))), found=shapes)

    def shapes(self) -> dict[str, Size]:
        if self.found is not None:
            return dict(self.found)
        out, inner = self.size[:2]
        a, b = _divisor(out, math.isqrt(out)), _divisor(inner, math.isqrt(inner))
        rows, columns = out // a, math.prod((inner // b, *self.size[2:]))
        if 2 * self.rank >= max(rows, inner // b):  # as LyCORIS decides, which rebuilds it so
            return {"lokr_w1": (a, b), "lokr_w2": (rows, inner // b, *self.size[2:])}
        return {
            "lokr_w1": (a, b), "lokr_w2_a": (rows, self.rank), "lokr_w2_b": (self.rank, columns),
        }  # fmt: skip

    @torch.no_grad()
    def reset(self, rng: torch.Generator, target: nn.Module) -> None:
        for name, weight in self.named_parameters():
            if name in ("w2", "w2_a"):
                weight.zero_()
            else:
                weight.copy_(_uniform(weight.shape, rng))

    def weight_update(self, target: Any) -> Tensor:
        w1, w2 = (self._factor(name) for name in ("w1", "w2"))
        strength = self.alpha / self.rank if self.rank else 1.0  # whole factors have no alpha
        return torch.kron(w1, w2.flatten(1)).view(self.size) * strength

    def _factor(self, name: str) -> Tensor:
        whole = getattr(self, name, None)
        if whole is not None:
            return whole
        return getattr(self, f"{name}_a") @ getattr(self, f"{name}_b")


class OftLayer(Layer):
    """Turns the outputs in blocks: angles between the weights of a block stay as they were.

    blocks: (out / s, s, s); the rank is the block size s, lowered to a divisor of out that
    is not above its root, since LyCORIS takes the smaller factor for the size. alpha is
    LyCORIS' constraint, of which Kaiffin makes no use: 0. Readers: ComfyUI, A1111, LyCORIS.
    """

    kind = "oft"
    parts: ClassVar = {"blocks": "oft_blocks"}
    blocks: nn.Parameter

    @classmethod
    def fresh(cls, target: nn.Module, rank: int, alpha: float, dropout: float) -> Layer:
        out = weight_size(target)[0]
        return cls(target, _divisor(out, min(max(2, rank), math.isqrt(out))), 0.0, dropout)

    @classmethod
    def of_parts(cls, target: nn.Module, found: Mapping[str, Tensor]) -> Layer:
        return cls(target, rank_of(found), 0.0)

    def shapes(self) -> dict[str, Size]:
        return kinds.oft(self.size, self.rank)

    @torch.no_grad()
    def reset(self, rng: torch.Generator, target: nn.Module) -> None:
        self.blocks.zero_()

    def weight_update(self, target: Any) -> Tensor:
        q = self.blocks - self.blocks.transpose(1, 2)
        eye = torch.eye(self.rank, device=q.device)
        turn = torch.linalg.solve(eye - q, eye + q, left=False)  # (I + Q)(I - Q)^-1
        weight = target.weight.float()
        blocks = weight.reshape(*q.shape[:2], -1)
        return (turn.transpose(1, 2) @ blocks).view(self.size) - weight


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(d for d in range(min(most, number), 0, -1) if number % d == 0)


LAYERS: Mapping[str, type[Layer]] = {
    cls.kind: cls for cls in (LoraLayer, DoraLayer, LohaLayer, LokrLayer, OftLayer)
}
