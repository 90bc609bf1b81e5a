"""Noises that change each input by itself; inputs are raw, before normalisation, and clipped later.

In the order in which a camera adds them: photons, then what scales and adds to their signal, then dead pixels, then
what hides a part. Photons come first because their number cannot be drawn for values under 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noise_search.noises.boxes import BOX_NOISES
from noise_search.noises.registry import ANY_DATA, BOTH_KNOBS, IMAGES_ONLY, InputNoise, Noise, per_sample
from noise_search.seeds import Draws

LEAST_SHOT = 1e-12  # photons beyond this many could not be counted; their noise is under 1e-6


def shot(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:
    """Poisson(x / m) m: counts of photons of which 1 / m make full intensity; mean x, variance x m.

    Args:
        inputs: (trials, batch, ...), intensities; what lies under 0 has no photons.
        magnitudes: Intensity m of one photon, (trials, batch); under 1e-12, as at 0, the sample is left alone.
        draws: Base draws of this noise at this step, for each trial its own: their law depends on its magnitudes.

    Source: Rusak et al. 2020, arXiv:2001.06057; Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    photon = per_sample(magnitudes, inputs)
    on = photon >= LEAST_SHOT
    safe = torch.where(on, photon, 1.0)
    rates = torch.where(on, inputs.detach().clamp(min=0.0) / safe, 0.0)
    counts = [torch.poisson(rate, generator=rng) for rate, rng in zip(rates, draws.generators("counts"), strict=True)]
    return torch.where(on, torch.stack(counts) * safe, inputs)


def speckle(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:
    """x + x m xi with xi ~ N(0, 1).

    Args:
        inputs: (trials, batch, ...), raw units.
        magnitudes: Standard deviation m as a share of the value, (trials, batch).
        draws: Base draws of this noise at this step.

    Source: Rusak et al. 2020, arXiv:2001.06057; Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    sigma = per_sample(magnitudes, inputs)
    noisy = inputs + inputs * (sigma * draws.sample_normal("xi", inputs.shape[2:]))
    return torch.where(sigma == 0, inputs, noisy)


def gaussian(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:
    """x + m xi with xi ~ N(0, 1).

    Args:
        inputs: (trials, batch, ...), raw units.
        magnitudes: Standard deviation m in raw units, (trials, batch).
        draws: Base draws of this noise at this step.

    Source: Rusak et al. 2020, arXiv:2001.06057; Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    sigma = per_sample(magnitudes, inputs)
    noisy = inputs + sigma * draws.sample_normal("xi", inputs.shape[2:])
    return torch.where(sigma == 0, inputs, noisy)


def uniform(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:
    """x + m (2 u - 1) with u ~ U(0, 1): even noise in [x - m, x + m].

    Args:
        inputs: (trials, batch, ...), raw units.
        magnitudes: Half width m in raw units, (trials, batch).
        draws: Base draws of this noise at this step.

    Source: Ferianc et al. 2024, "Navigating Noise", TMLR.
    """
    half_width = per_sample(magnitudes, inputs)
    noisy = inputs + half_width * (2 * draws.sample_uniform("u", inputs.shape[2:]) - 1)
    return torch.where(half_width == 0, inputs, noisy)


def impulse(inputs: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:
    """A share m of the pixels, all channels of one together, become 0 or 1, half of them each.

    A larger m strikes the same pixels and more.

    Args:
        inputs: (trials, batch, channels, height, width), raw units.
        magnitudes: Share m of the pixels, (trials, batch).
        draws: Base draws of this noise at this step.

    Source: Rusak et al. 2020, arXiv:2001.06057; Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    pixels = (1, *inputs.shape[3:])
    struck = draws.sample_uniform("u", pixels) < per_sample(magnitudes, inputs)
    value = (draws.sample_uniform("is_one", pixels) < 0.5).to(inputs.dtype)
    return torch.where(struck, value, inputs)


INPUT_NOISES: dict[str, Noise[InputNoise]] = {
    "shot": Noise(
        site="inputs",
        name="shot",
        apply=shot,
        unit="intensity of one photon, 1 / photons",
        search=(0.002, 0.3),
        log=True,
        limit=10.0,
        knobs=BOTH_KNOBS,
        modalities=IMAGES_ONLY,
        source="Rusak 2020, arXiv:2001.06057",
        summary="counts each pixel's photons: noise that grows with the root of the brightness",
    ),
    "speckle": Noise(
        site="inputs",
        name="speckle",
        apply=speckle,
        unit="standard deviation as a share of the value",
        search=(0.05, 0.8),
        log=True,
        limit=10.0,
        knobs=BOTH_KNOBS,
        modalities=ANY_DATA,
        source="Rusak 2020, arXiv:2001.06057",
        summary="adds normal noise to every input value in proportion to it",
    ),
    "gaussian": Noise(
        site="inputs",
        name="gaussian",
        apply=gaussian,
        unit="standard deviation, raw units",
        search=(0.02, 0.6),
        log=True,
        limit=10.0,
        knobs=BOTH_KNOBS,
        modalities=ANY_DATA,
        source="Rusak 2020, arXiv:2001.06057",
        summary="adds independent normal noise to every input value",
    ),
    "uniform": Noise(
        site="inputs",
        name="uniform",
        apply=uniform,
        unit="half width, raw units",
        search=(0.02, 0.6),
        log=False,
        limit=10.0,
        knobs=BOTH_KNOBS,
        modalities=ANY_DATA,
        source="Ferianc 2024, TMLR",
        summary="adds independent uniform noise to every input value",
    ),
    "impulse": Noise(
        site="inputs",
        name="impulse",
        apply=impulse,
        unit="share of the pixels",
        search=(0.01, 0.3),
        log=True,
        limit=1.0,
        knobs=BOTH_KNOBS,
        modalities=IMAGES_ONLY,
        source="Rusak 2020, arXiv:2001.06057",
        summary="sets pixels to 0 or 1: salt and pepper",
    ),
    **BOX_NOISES,
}
