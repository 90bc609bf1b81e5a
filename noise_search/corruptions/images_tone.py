"""Held-out corruptions of images: tone. For their contract see `images`."""

from __future__ import annotations

import torch
from torch import Tensor

from noise_search.corruptions.pixels import finished, power_law_field, uniform, widened
from noise_search.corruptions.registry import Corruption

FOG_EXPONENT = 4.0  # plasma whose amplitude halves with each octave


def brightness(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """x + s, clipped; s in raw units, 0 the identity.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (there on the value of HSV, which is the same for grey).

    >>> brightness(torch.tensor([[[[0.0, 0.5, 0.75]]]]), 0.5, torch.Generator())
    tensor([[[[0.5000, 1.0000, 1.0000]]]])
    """
    del generator  # nothing is drawn
    return finished(widened(images) + strength, images)


def fog(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """(x + s f) / (1 + s) with `clouds` f; s is the fog's weight against the picture's, 0 the identity.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (there clouds by the diamond-square algorithm).
    """
    pixels = widened(images)
    samples, _, height, width = pixels.shape
    return finished((pixels + strength * clouds(samples, height, width, generator).to(pixels)) / (1 + strength), images)


def clouds(samples: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Smooth fields from 0 to 1 with a power spectrum of frequency^-4, shape (samples, 1, height, width)."""
    field = power_law_field((samples, 1, height, width), FOG_EXPONENT, generator)
    low, high = field.amin(dim=(2, 3), keepdim=True), field.amax(dim=(2, 3), keepdim=True)
    return (field - low) / (high - low)


def saturate(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """x + s (x - grey), clipped, where grey is the mean of the channels; 0 is the identity, grey stays as it is.

    Source: own; Hendrycks & Dietterich 2019, arXiv:1903.12261, scale the saturation of HSV, down as well as up.

    >>> saturate(torch.tensor([0.25, 0.5, 0.75]).view(1, 3, 1, 1), 0.5, torch.Generator()).flatten()
    tensor([0.1250, 0.5000, 0.8750])
    """
    del generator  # nothing is drawn
    pixels = widened(images)
    return finished(pixels + strength * (pixels - pixels.mean(dim=1, keepdim=True)), images)


def inverse(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """1 - x for a share s of the images, the negative; the others stay as they are. 0 is the identity.

    A larger s inverts the same images and more. Half-way to its negative a picture would be grey, not inverted.

    Source: Mu & Gilmer 2019, arXiv:1906.02337 (there all images).

    >>> inverse(torch.tensor([[[[0.0, 0.25, 1.0]]]]), 1.0, torch.Generator())
    tensor([[[[1.0000, 0.7500, 0.0000]]]])
    """
    pixels = widened(images)
    chosen = uniform((len(pixels), 1, 1, 1), generator, pixels) < strength
    return finished(torch.where(chosen, 1 - pixels, pixels), images)


TONES = (
    Corruption(
        name="brightness",
        family="tone",
        modality="images",
        apply=brightness,
        unit="added to every value, raw units",
        literature=(0.1, 0.2, 0.3, 0.4, 0.5),
        search=(0.0, 1.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths)",
    ),
    Corruption(
        name="fog",
        family="tone",
        modality="images",
        apply=fog,
        unit="weight of the fog against the picture's",
        literature=(0.2, 0.5, 0.75, 1.0, 1.5),
        search=(0.0, 16.0),
        source="Hendrycks 2019, arXiv:1903.12261 (CIFAR-10-C strengths)",
    ),
    Corruption(
        name="saturate",
        family="tone",
        modality="images",
        apply=saturate,
        unit="growth of the distance from grey",
        literature=(0.5, 1.0, 4.0, 9.0, 19.0),
        search=(0.0, 64.0),
        source="own strengths, to the factor 20 of ImageNet-C (Hendrycks 2019, arXiv:1903.12261)",
        channels=3,
    ),
    Corruption(
        name="inverse",
        family="tone",
        modality="images",
        apply=inverse,
        unit="share of the images",
        literature=(0.2, 0.4, 0.6, 0.8, 1.0),
        search=(0.0, 1.0),
        source="Mu 2019, arXiv:1906.02337 (MNIST-C); own strengths up to its one",
        channels=1,
    ),
)
