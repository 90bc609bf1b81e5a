"""Noises on the targets, which are class probabilities of shape (trials, batch, classes)."""

from __future__ import annotations

import torch
from torch import Tensor

from noise_search.noises.registry import ANY_DATA, BOTH_KNOBS, Noise, TargetNoise, per_sample
from noise_search.seeds import Draws


def label_flip(targets: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:
    """With probability m the label becomes another one, each of the others alike; fresh in every batch.

    Classes are turned by 1 to K - 1 places, which gives any other label evenly and keeps any target a distribution.

    Args:
        targets: Probabilities, (trials, batch, classes).
        magnitudes: Probability m of another label, (trials, batch).
        draws: Base draws of this noise at this step.

    Source: Xie et al. 2016, arXiv:1605.00055 (DisturbLabel), where the new label may be the old one.
    """
    classes = targets.shape[-1]
    flipped = draws.sample_uniform("flip") < magnitudes
    places = 1 + (draws.sample_uniform("places") * (classes - 1)).floor().long()
    before_turn = (torch.arange(classes, device=targets.device) - places[..., None]) % classes
    turned = targets.gather(-1, before_turn.expand_as(targets))
    return torch.where(flipped[..., None], turned, targets)


def label_smoothing(targets: Tensor, magnitudes: Tensor, draws: Draws) -> Tensor:  # noqa: ARG001
    """(1 - m) y + m / K for K classes; needs no draws of its own.

    Args:
        targets: Probabilities, (trials, batch, classes).
        magnitudes: Share m of the target spread evenly over all classes, (trials, batch).
        draws: Unused; every noise takes them.

    Source: Szegedy et al. 2016, arXiv:1512.00567.
    """
    share = per_sample(magnitudes, targets)
    soft = (1 - share) * targets + share / targets.shape[-1]
    return torch.where(share == 0, targets, soft)  # -0 + 0 is +0


TARGET_NOISES: dict[str, Noise[TargetNoise]] = {
    "label_flip": Noise(
        site="targets",
        name="label_flip",
        apply=label_flip,
        unit="probability of another label",
        search=(0.01, 0.3),
        log=False,
        limit=1.0,
        knobs=frozenset(),
        modalities=ANY_DATA,
        source="Xie 2016, arXiv:1605.00055",
        summary="gives samples another label at random, anew in every batch",
    ),
    "label_smoothing": Noise(
        site="targets",
        name="label_smoothing",
        apply=label_smoothing,
        unit="share of the target",
        search=(0.01, 0.4),
        log=False,
        limit=1.0,
        knobs=BOTH_KNOBS,
        modalities=ANY_DATA,
        source="Szegedy 2016, arXiv:1512.00567",
        summary="spreads a share of each target evenly over all classes",
    ),
}
