"""Test-time corruptions and the suites built of them: how a shift is made, and how strong it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from noise_search.corruptions import images

Apply: TypeAlias = Callable[[Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True, slots=True)
class Corruption:
    """A kind of test-time shift.

    Args:
        name: Key in `CORRUPTIONS`.
        family: Kinds of one family are averaged before families are.
        modality: Kind of data it is for.
        apply: Pure function of (data, strength, generator); base draws depend on the generator alone.
        unit: What the strength measures.
        literature: Five published strengths, used where calibration cannot reach half of clean accuracy.
        search: Strengths calibration may choose from; the first is the identity.
        source: Paper, or "own".
    """

    name: str
    family: str
    modality: str
    apply: Apply
    unit: str
    literature: tuple[float, float, float, float, float]
    search: tuple[float, float]
    source: str


_KINDS = (
    Corruption(
        name="gaussian",
        family="noise",
        modality="images",
        apply=images.gaussian,
        unit="standard deviation, raw units",
        literature=(0.08, 0.12, 0.18, 0.26, 0.38),
        search=(0.0, 2.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths)",
    ),
    Corruption(
        name="speckle",
        family="noise",
        modality="images",
        apply=images.speckle,
        unit="standard deviation as a share of the value",
        literature=(0.15, 0.2, 0.35, 0.45, 0.6),
        search=(0.0, 8.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths)",
    ),
    Corruption(
        name="gaussian_blur",
        family="blur",
        modality="images",
        apply=images.gaussian_blur,
        unit="sigma, pixels",
        literature=(0.4, 0.6, 0.7, 0.8, 1.0),
        search=(0.0, 16.0),
        source="Hendrycks 2019, arXiv:1903.12261 (CIFAR-10-C strengths)",
    ),
    Corruption(
        name="contrast",
        family="tone",
        modality="images",
        apply=images.contrast,
        unit="share of contrast removed",
        literature=(0.6, 0.7, 0.8, 0.9, 0.95),
        search=(0.0, 1.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths)",
    ),
    Corruption(
        name="pixelate",
        family="digital",
        modality="images",
        apply=images.pixelate,
        unit="block width, pixels",
        literature=(1.067, 1.143, 1.185, 1.333, 1.6),
        search=(1.0, 16.0),
        source="Hendrycks 2019, arXiv:1903.12261 (CIFAR-10-C strengths: 32 pixels on 30, 28, 27, 24, 20)",
    ),
    Corruption(
        name="elastic",
        family="shape",
        modality="images",
        apply=images.elastic,
        unit="root mean square displacement, pixels",
        literature=(0.25, 0.5, 0.75, 1.0, 1.5),
        search=(0.0, 16.0),
        source="Simard 2003; own strengths, to twice the displacements of CIFAR-10-C at severity 5",
    ),
)

CORRUPTIONS: dict[str, Corruption] = {kind.name: kind for kind in _KINDS}
