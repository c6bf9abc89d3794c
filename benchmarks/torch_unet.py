"""The U-Net of `jaxgen.nets` written in PyTorch as one would write it there, to be measured and tested against.

Submodules carry the names that ours have, so that `load` can copy parameters by name. Images are ``[b, c, h, w]``;
``model.to(memory_format=torch.channels_last)`` is what PyTorch runs fastest on most processors. Standalone on purpose:
it imports nothing but PyTorch and NumPy.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def group_count(channels: int, groups: int) -> int:
    return next(n for n in range(max(1, min(groups, channels // 4)), 0, -1) if channels % n == 0)


def space_to_depth(x: Tensor, block: int) -> Tensor:
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(b, block * block * c, h // block, w // block)


def depth_to_space(x: Tensor, block: int) -> Tensor:
    b, c, h, w = x.shape
    x = x.reshape(b, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(b, c // block**2, h * block, w * block)


def sinusoidal(t: Tensor, width: int, scale: float = 1000.0, max_period: float = 10000.0) -> Tensor:
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = scale * t[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Norm(nn.GroupNorm):
    """Group normalisation, optionally with a scale and shift from outside."""

    def __init__(self, channels: int, groups: int):
        super().__init__(group_count(channels, groups), channels)

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        x = super().forward(x)
        if scale is None or shift is None:
            return x
        return torch.addcmul(shift[:, :, None, None], x, 1 + scale[:, :, None, None])


def conv(cin: int, cout: int, width: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, width, stride, (width - 1) // 2)


class Attention(nn.Module):
    def __init__(self, c: int, head_width: int, groups: int):
        super().__init__()
        self.heads = max(1, c // head_width)
        self.GroupNorm_0 = Norm(c, groups)
        self.Dense_0 = nn.Linear(c, 3 * c)
        self.Dense_1 = nn.Linear(c, c)

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        h = self.GroupNorm_0(x).flatten(2).transpose(1, 2)
        qkv = self.Dense_0(h).reshape(b, height * width, self.heads, -1).transpose(1, 2)
        h = F.scaled_dot_product_attention(*qkv.chunk(3, dim=-1))
        h = self.Dense_1(h.transpose(1, 2).reshape(b, height * width, c))
        return x + h.transpose(1, 2).reshape(x.shape)


class Residual(nn.Module):
    def __init__(self, cin: int, cout: int, embedding: int, adaptive: bool, groups: int):
        super().__init__()
        self.adaptive = adaptive
        self.GroupNorm_0 = Norm(cin, groups)
        self.Conv_0 = conv(cin, cout)
        if embedding:
            self.Dense_0 = nn.Linear(embedding, 2 * cout if adaptive else cout)
        self.GroupNorm_1 = Norm(cout, groups)
        self.Conv_1 = conv(cout, cout)
        if cin != cout:
            self.Conv_2 = conv(cin, cout, 1)

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        h = self.Conv_0(F.silu(self.GroupNorm_0(x)))
        scale = shift = None
        if embedding is not None:
            e = self.Dense_0(F.silu(embedding))
            if self.adaptive:
                scale, shift = e.chunk(2, dim=-1)
            else:
                h = h + e[:, :, None, None]
        h = self.Conv_1(F.silu(self.GroupNorm_1(h, scale, shift)))
        return h + (self.Conv_2(x) if hasattr(self, "Conv_2") else x)


class Down(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.Conv_0 = conv(c, c, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv_0(x)


class Up(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.Conv_0 = conv(c, c)

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv_0(F.interpolate(x, scale_factor=2, mode="nearest"))


class UNet(nn.Module):
    """``jaxgen.nets.unet`` in two dimensions; with `time` it is called with t."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int],
        blocks: int = 2,
        attention: Sequence[int] = (),
        head_width: int = 32,
        adaptive: bool = True,
        groups: int = 32,
        patch: int = 1,
        time: bool = False,
    ):
        super().__init__()
        self.patch, self.first = patch, channels[0]
        width = 4 * channels[0] if time else 0
        if time:
            self.Dense_1 = nn.Linear(2 * (channels[0] // 2), width)
            self.Dense_0 = nn.Linear(width, width)  # ours is named from the outside in
        self.Conv_0 = conv(in_channels * patch**2, channels[0])
        counts: dict[str, int] = {}
        self.plan: list[tuple[str, nn.Module | None]] = []

        def add(step: str, kind: str, module: nn.Module) -> None:
            number = counts.get(kind, 0)
            counts[kind] = number + 1
            self.add_module(f"{kind}_{number}", module)
            self.plan.append((step, module))

        def residual(cin: int, cout: int) -> int:
            add("residual", "ResidualBlock", Residual(cin, cout, width, adaptive, groups))
            return cout

        def block(cin: int, level: int) -> int:
            cout = residual(cin, channels[level])
            if level in attention:
                add("plain", "SelfAttention", Attention(cout, head_width, groups))
            return cout

        c, skips, last = channels[0], [channels[0]], len(channels) - 1
        for level, features in enumerate(channels):
            for _ in range(blocks):
                c = block(c, level)
                self.plan.append(("keep", None))
                skips.append(c)
            if level < last:
                add("plain", "Downsample", Down(features))
                self.plan.append(("keep", None))
                skips.append(c)
        c = residual(c, channels[-1])
        if last in attention:
            add("plain", "SelfAttention", Attention(c, head_width, groups))
            residual(c, c)
        for level in range(last, -1, -1):
            for _ in range(blocks + 1):
                self.plan.append(("join", None))
                c = block(c + skips.pop(), level)
            if level > 0:
                add("plain", "Upsample", Up(c))
        self.GroupNorm_0 = Norm(c, groups)
        self.Conv_1 = conv(c, out_channels * patch**2)

    def forward(self, x: Tensor, t: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        embedding = None
        if t is not None:
            embedding = self.Dense_0(F.silu(self.Dense_1(sinusoidal(t, 2 * (self.first // 2)))))
        h = self.Conv_0(space_to_depth(x, self.patch) if self.patch > 1 else x)
        if features is not None:
            h = h + features
        skips = [h]
        for step, module in self.plan:
            if step == "keep":
                skips.append(h)
            elif step == "join":
                h = torch.cat([h, skips.pop()], dim=1)
            else:
                h = module(h, embedding) if step == "residual" else module(h)
        h = self.Conv_1(F.silu(self.GroupNorm_0(h)))
        return depth_to_space(h, self.patch) if self.patch > 1 else h


class ConditionalUNet(nn.Module):
    """``jaxgen.medical.segmentation.conditional.conditional_net`` of two U-Nets."""

    def __init__(self, encoder: UNet, denoiser: UNet):
        super().__init__()
        self.encoder, self.denoiser = encoder, denoiser

    def encode(self, image: Tensor) -> Tensor:
        return self.encoder(space_to_depth(image, self.denoiser.patch) if self.denoiser.patch > 1 else image)

    def forward(self, x: Tensor, t: Tensor, features: Tensor) -> Tensor:
        return self.denoiser(x, t, features)


def _tensors(module: nn.Module, params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Our parameters under PyTorch's names and in its layouts."""
    result: dict[str, np.ndarray] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            result |= _tensors(getattr(module, name), value, f"{prefix}{name}.")
            continue
        x = np.asarray(value)
        if name == "kernel":
            x = x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T
        result[prefix + {"kernel": "weight", "scale": "weight", "bias": "bias", "shift": "bias"}[name]] = x
    return result


def named_like_torch(module: nn.Module, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A tree shaped like our parameters (such as their gradient) with PyTorch's names and layouts."""
    return _tensors(module, params)


def load(module: nn.Module, params: Mapping[str, Any]) -> None:
    """Copy our parameters into the module; every one of its own must be met."""
    tensors = {name: torch.from_numpy(np.array(x)) for name, x in _tensors(module, params).items()}
    module.load_state_dict(tensors, strict=True)
