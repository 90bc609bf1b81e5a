"""Noises: pure functions of a tensor and a magnitude, in plain registries beside their functions."""

from __future__ import annotations

from typing import Any

from noise_search.noises.cohort import Batch, CohortTerm, noisy_batch, noisy_gradients, noisy_weights
from noise_search.noises.gradients import GRADIENT_NOISES
from noise_search.noises.inputs import INPUT_NOISES
from noise_search.noises.mixing import MIXING_NOISES
from noise_search.noises.registry import Noise
from noise_search.noises.targets import TARGET_NOISES
from noise_search.noises.weights import WEIGHT_NOISES

NOISES: dict[str, dict[str, Noise[Any]]] = {
    "inputs": {**MIXING_NOISES, **INPUT_NOISES},
    "weights": {**WEIGHT_NOISES},
    "targets": {**TARGET_NOISES},
    "gradients": {**GRADIENT_NOISES},
}

__all__ = ["NOISES", "Batch", "CohortTerm", "Noise", "noisy_batch", "noisy_gradients", "noisy_weights"]
