"""Held-out corruptions of images: noise. For their contract see `images`."""

from __future__ import annotations

import torch
from torch import Tensor

from noise_search.corruptions.pixels import finished, power_law_field, uniform, widened
from noise_search.corruptions.registry import Corruption

BROWN_EXPONENT = 2.0


def shot(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Poisson(x / s) s: counts of photons of which 1 / s make white; mean x, variance x s; 0 is the identity.

    The one kind whose law depends on the strength: severities start from the same state of the generator, but
    do not scale one draw.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (there c = 1 / s).
    """
    if strength == 0:
        return images.clone()
    # In one precision: a rate that differs in its last bits can shift every draw after it.
    rates = images.float().to(generator.device) / strength
    counts = torch.poisson(rates, generator=generator)
    return finished((counts * strength).to(widened(images)), images)


def impulse(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """A share s of the pixels, all channels of one together, becomes 0 or 1, half of them each; 0 is the identity.

    A larger s strikes the same pixels and more.

    Source: Hendrycks & Dietterich 2019, arXiv:1903.12261 (there channel by channel).
    """
    pixels = widened(images)
    samples, _, height, width = pixels.shape
    struck = uniform((samples, 1, height, width), generator, pixels) < strength
    value = (uniform((samples, 1, height, width), generator, pixels) < 0.5).to(pixels)
    return finished(torch.where(struck, value, pixels), images)


def brown(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """x + s n, n a field of rms 1 for each channel whose power falls as frequency^-2; s in raw units, 0 the identity.

    Source: own; Mintun et al. 2021, arXiv:2102.11273, have a brownish noise too.
    """
    pixels = widened(images)
    field = power_law_field(pixels.shape, BROWN_EXPONENT, generator)
    return finished(pixels + strength * field.to(pixels), images)


NOISES = (
    Corruption(
        name="shot",
        family="noise",
        modality="images",
        apply=shot,
        unit="intensity of one photon, 1 / photons",
        literature=(0.01667, 0.04, 0.08333, 0.2, 0.3333),
        search=(0.0, 16.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths: 60, 25, 12, 5, 3 photons)",
    ),
    Corruption(
        name="impulse",
        family="noise",
        modality="images",
        apply=impulse,
        unit="share of pixels struck",
        literature=(0.03, 0.06, 0.09, 0.17, 0.27),
        search=(0.0, 1.0),
        source="Hendrycks 2019, arXiv:1903.12261 (ImageNet-C strengths)",
    ),
    Corruption(
        name="brown",
        family="noise",
        modality="images",
        apply=brown,
        unit="root mean square of the noise, raw units",
        literature=(0.08, 0.12, 0.18, 0.26, 0.38),
        search=(0.0, 2.0),
        source="own, at the ImageNet-C strengths of Gaussian noise",
    ),
)
