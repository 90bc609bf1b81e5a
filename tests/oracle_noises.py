"""The catalogue of noises, one sample or layer at a time in plain Python, written from the formulas alone.

Every function takes the magnitude of each sample, or of the batch, and draws from the keys it is given: `uniform` and
`normal` name a draw and its shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Draw = Callable[[str, tuple[int, ...]], Tensor]  # name, shape for one sample -> (batch, *shape)
LayerDraw = Callable[[str, tuple[int, ...]], Tensor]  # name, shape -> shape


def shot(inputs: Tensor, magnitudes: Sequence[float], rng: torch.Generator) -> Tensor:
    noisy = inputs.clone()
    for image, photon in zip(noisy, magnitudes, strict=True):
        if photon > 0:  # a sample that is left alone uses up no draw
            image.copy_(torch.poisson(image.clamp_min(0) / photon, generator=rng) * photon)
    return noisy


def speckle(inputs: Tensor, magnitudes: Sequence[float], normal: Draw) -> Tensor:
    xi = normal("xi", inputs.shape[1:])
    return torch.stack([x * (1 + m * z) for x, m, z in zip(inputs, magnitudes, xi, strict=True)])


def gaussian(inputs: Tensor, magnitudes: Sequence[float], normal: Draw) -> Tensor:
    xi = normal("xi", inputs.shape[1:])
    return torch.stack([x + m * z for x, m, z in zip(inputs, magnitudes, xi, strict=True)])


def uniform(inputs: Tensor, magnitudes: Sequence[float], draw: Draw) -> Tensor:
    u = draw("u", inputs.shape[1:])
    return torch.stack([(x - m) + 2 * m * v for x, m, v in zip(inputs, magnitudes, u, strict=True)])


def impulse(inputs: Tensor, magnitudes: Sequence[float], draw: Draw) -> Tensor:
    pixels = (1, *inputs.shape[2:])
    u, is_one = draw("u", pixels), draw("is_one", pixels)
    noisy = inputs.clone()
    for sample, share in enumerate(magnitudes):
        for row, column in (u[sample, 0] < share).nonzero().tolist():
            noisy[sample, :, row, column] = 1.0 if is_one[sample, 0, row, column] < 0.5 else 0.0
    return noisy


def erase(inputs: Tensor, magnitudes: Sequence[float], draw: Draw) -> Tensor:
    height, width = inputs.shape[2:]
    places = draw("top", ()), draw("left", ())
    is_noise, fill = draw("is_noise", (1, 1, 1)), draw("fill", inputs.shape[1:])
    noisy = inputs.clone()
    for sample, share in enumerate(magnitudes):
        rows, columns = sides(share, height, width)
        top, left = int(places[0][sample] * (height - rows + 1)), int(places[1][sample] * (width - columns + 1))
        box = (sample, slice(None), slice(top, top + rows), slice(left, left + columns))
        noisy[box] = fill[box] if is_noise[sample] < 0.5 else 0.0
    return noisy


def sides(share: float, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a box of a share of the area, shaped like the image to whole pixels."""
    rows = max(1, round(math.sqrt(share) * height), math.ceil(share * height))
    return rows, round(share * height * width / rows)


def partners(draw: Draw) -> list[int]:
    order: list[int] = draw("partner", ()).argsort(stable=True).tolist()
    return order


def own_shares(magnitudes: Sequence[float], rng: np.random.Generator) -> list[float]:
    """max(q, 1 - q) of each sample; one that is left alone uses up its draw all the same."""
    shares = [rng.beta(alpha or 1.0, alpha or 1.0) for alpha in magnitudes]
    return [max(q, 1 - q) if alpha else 1.0 for q, alpha in zip(shares, magnitudes, strict=True)]


def mixup(
    inputs: Tensor, targets: Tensor, magnitudes: Sequence[float], draw: Draw, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    new_inputs, new_targets = inputs.clone(), targets.clone()
    other = partners(draw)
    for sample, lam in enumerate(own_shares(magnitudes, rng)):
        new_inputs[sample] = lam * inputs[sample] + (1 - lam) * inputs[other[sample]]
        new_targets[sample] = lam * targets[sample] + (1 - lam) * targets[other[sample]]
    return new_inputs, new_targets


def cutmix(
    inputs: Tensor, targets: Tensor, magnitudes: Sequence[float], draw: Draw, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    height, width = inputs.shape[2:]
    new_inputs, new_targets = inputs.clone(), targets.clone()
    other, middle_row, middle_column = partners(draw), draw("row", ()), draw("column", ())
    for sample, lam in enumerate(own_shares(magnitudes, rng)):
        rows, columns = sides(1 - lam, height, width)
        top = int(middle_row[sample] * height) - rows // 2
        left = int(middle_column[sample] * width) - columns // 2
        pasted = torch.zeros((height, width), dtype=torch.bool)
        pasted[max(top, 0) : top + rows, max(left, 0) : left + columns] = True
        share = int(pasted.sum()) / (height * width)
        new_inputs[sample, :, pasted] = inputs[other[sample]][:, pasted]
        new_targets[sample] = (1 - share) * targets[sample] + share * targets[other[sample]]
    return new_inputs, new_targets


def label_flip(targets: Tensor, magnitudes: Sequence[float], draw: Draw) -> Tensor:
    classes = targets.shape[1]
    flip, places = draw("flip", ()), draw("places", ())
    flipped = targets.clone()
    for sample, probability in enumerate(magnitudes):
        if flip[sample] < probability:
            label = (int(targets[sample].argmax()) + 1 + int(places[sample] * (classes - 1))) % classes
            flipped[sample] = torch.eye(classes, dtype=targets.dtype)[label]
    return flipped


def label_smoothing(targets: Tensor, magnitudes: Sequence[float]) -> Tensor:
    classes = targets.shape[1]
    return torch.stack([y - m * y + m * (1 / classes) for y, m in zip(targets, magnitudes, strict=True)])


def relative(values: Tensor, magnitude: float, name: str, normal: LayerDraw) -> Tensor:
    """For weights and for gradients."""
    rms = math.sqrt(float((values * values).mean()))
    return values + magnitude * rms * normal(name, values.shape)


def additive(values: Tensor, magnitude: float, name: str, normal: LayerDraw) -> Tensor:
    return values + magnitude * normal(name, values.shape)


def dropconnect(values: Tensor, magnitude: float, name: str, draw: LayerDraw) -> Tensor:
    scaled = values * (1 / (1 - magnitude))
    scaled[draw(name, values.shape) < magnitude] = 0.0
    return scaled
