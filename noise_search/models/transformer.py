"""A small transformer encoder on patches of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor, nn

from noise_search.errors import CallerError, raise_if_any
from noise_search.models.parts import InputStatistics, Width


@dataclass(frozen=True, slots=True)
class TransformerParameters:
    """Shape of a transformer encoder on image patches.

    Args:
        patch: Side of a square patch, in pixels; it divides both sides of the image.
        width: Of a token; `heads` divides it.
        heads: Of the attention.
        layers: Encoder blocks.
        expansion: Width of a block's hidden layer, in widths of a token.
        dropout: Probability with which a block's additions lose a number in training.
    """

    patch: Annotated[int, Interval(ge=1, le=256)] = 4
    width: Width = 64
    heads: Annotated[int, Interval(ge=1, le=64)] = 4
    layers: Annotated[int, Interval(ge=1, le=12)] = 2
    expansion: Annotated[int, Interval(ge=1, le=8)] = 2
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0


class Attention(nn.Module):
    """Multi-head self-attention: softmax(q k' / sqrt(d)) v for each head.

    Written out, because the fused kernel of torch on the CPU has no batching rule for `vmap`.

    Source: Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(samples, tokens, width) to the same shape."""
        query, key, value = self.project(tokens).reshape(*tokens.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed = scores.softmax(dim=-1) @ value
        merged: Tensor = self.merge(mixed.transpose(1, 2).flatten(2))
        return merged


class EncoderBlock(nn.Module):
    """Attention, then a hidden layer, each on normed tokens and added to them ("pre-norm").

    Source: Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, parameters: TransformerParameters) -> None:
        super().__init__()
        width, hidden = parameters.width, parameters.expansion * parameters.width
        self.attention = nn.Sequential(nn.LayerNorm(width), Attention(width, parameters.heads))
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        # None at all for 0, so that such a model draws no numbers.
        self.dropout = nn.Dropout(parameters.dropout) if parameters.dropout else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        """(samples, tokens, width) to the same shape."""
        tokens = tokens + self.dropout(self.attention(tokens))
        added: Tensor = tokens + self.dropout(self.hidden(tokens))
        return added


class PatchEmbedding(nn.Module):
    """Images cut into patches: (samples, channels, height, width) to tokens (samples, patches, width)."""

    def __init__(self, shape: tuple[int, ...], patch: int, width: int) -> None:
        super().__init__()
        channels, *sides = shape
        patches = (sides[0] // patch) * (sides[1] // patch)
        self.patch = patch
        self.embed = nn.Linear(channels * patch * patch, width)
        self.positions = nn.Parameter(0.02 * torch.randn(patches, width))

    def forward(self, images: Tensor) -> Tensor:
        """Tokens with their positions added."""
        samples, channels, height, width = images.shape
        cut = images.reshape(samples, channels, height // self.patch, self.patch, width // self.patch, self.patch)
        patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        tokens: Tensor = self.embed(patches) + self.positions
        return tokens


class TokenMean(nn.Module):
    """Mean over tokens: (samples, tokens, width) to (samples, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Means."""
        return tokens.mean(1)


def transformer(statistics: InputStatistics, parameters: TransformerParameters) -> nn.Module:
    """Patches, learnt positions, pre-norm encoder blocks, mean over tokens, head.

    Raises:
        CallerError: When patches do not fill the images, or heads the width.
    """
    raise_if_any(check_transformer(parameters))
    _refuse_patches_that_do_not_fit(statistics.shape, parameters.patch)
    width = parameters.width
    return nn.Sequential(
        PatchEmbedding(statistics.shape, parameters.patch, width),
        *[EncoderBlock(parameters) for _ in range(parameters.layers)],
        nn.LayerNorm(width),
        TokenMean(),
        nn.Linear(width, statistics.classes),
    )


def check_transformer(parameters: TransformerParameters) -> list[str]:
    """Whether the heads divide the width.

    >>> check_transformer(TransformerParameters(width=64, heads=6))
    ['model.heads: expected a divisor of model.width 64, got 6']
    """
    if parameters.width % parameters.heads == 0:
        return []
    return [f"model.heads: expected a divisor of model.width {parameters.width}, got {parameters.heads}"]


def _refuse_patches_that_do_not_fit(shape: tuple[int, ...], patch: int) -> None:
    _, height, width = shape
    fitting = [side for side in range(1, min(height, width) + 1) if height % side == width % side == 0]
    if patch not in fitting:
        raise CallerError(f"model.patch: expected one of {fitting} for images of {height}x{width} pixels, got {patch}")
