"""Held-out corruptions of images: digital. For their contract see `images`."""

from __future__ import annotations

import torch
from torch import Tensor

from noise_search.corruptions.pixels import along_axes, blur_matrix, finished, normal, uniform, widened
from noise_search.corruptions.registry import Corruption

SPATTER_SMOOTHNESS = 1 / 16  # sigma of the field that drops are cut from, as a share of the shorter side
MUD = 63 / 255


def quantize(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Rounded to the nearest of levels s apart, then clipped; 0 is the identity.

    Levels are s (k + u) for whole k, with u ~ U(0, 1) for each image, so that images change over at other strengths.

    Source: after Mu & Gilmer 2019, arXiv:1906.02337 (there u = 0 and s = 1 / (2^bits - 1)).
    """
    if strength == 0:
        return images.clone()
    pixels = widened(images)
    shift = uniform((len(pixels), 1, 1, 1), generator, pixels)
    return finished(((pixels / strength - shift).round() + shift) * strength, images)


def spatter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Drops of grey mud hide a share s of every picture, to the pixel and parts of it; 0 is the identity.

    Drops are where the `smooth_field` is largest, so that a larger s makes the same ones grow.

    Source: after Hendrycks & Dietterich 2019, arXiv:1903.12261, and Mu & Gilmer 2019, arXiv:1906.02337.
    """
    pixels = widened(images)
    samples, _, height, width = pixels.shape
    field = smooth_field(samples, height, width, generator).flatten(1)
    larger = field.argsort(dim=1, descending=True).argsort(dim=1)  # how many pixels come before each
    mud = (strength * height * width - larger.to(pixels)).clamp(0, 1).view(samples, 1, height, width)
    return finished(pixels + mud * (MUD - pixels), images)


def smooth_field(samples: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Unit noise under a Gaussian of a sixteenth of the shorter side, shape (samples, height, width)."""
    like = torch.empty(0, device=generator.device)
    noise = normal((samples, height, width), generator, like)
    sigma = SPATTER_SMOOTHNESS * min(height, width)
    return along_axes(noise, blur_matrix(height, sigma), blur_matrix(width, sigma))


DIGITAL = (
    Corruption(
        name="quantize",
        family="digital",
        modality="images",
        apply=quantize,
        unit="step between values, raw units",
        literature=(0.03226, 0.06667, 0.1429, 0.3333, 1.0),
        search=(0.0, 4.0),
        source="after Mu 2019, arXiv:1906.02337 (MNIST-C strengths: 5 to 1 bits)",
    ),
    Corruption(
        name="spatter",
        family="digital",
        modality="images",
        apply=spatter,
        unit="share of the picture",
        literature=(0.05, 0.1, 0.2, 0.3, 0.4),
        search=(0.0, 1.0),
        source="after Mu 2019, arXiv:1906.02337 (MNIST-C); own strengths",
    ),
)
