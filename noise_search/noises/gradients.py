"""Noises on the gradients, drawn each step, after clipping and before the optimiser."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from noise_search.noises.registry import ANY_DATA, BOTH_KNOBS, Noise, ParameterNoise
from noise_search.noises.weights import plus_relative
from noise_search.seeds import Draws


def gaussian(gradients: Mapping[str, Tensor], magnitudes: Tensor, draws: Draws) -> dict[str, Tensor]:
    """g + m rms(g_layer) xi with xi ~ N(0, 1), on every parameter tensor, biases and norms among them.

    Measured by the gradient itself, the noise keeps its share of it while the gradient shrinks, and a magnitude means
    the same in every layer and model. A layer whose gradient is 0 gets none.

    Args:
        gradients: Each (trials, ...), clipped.
        magnitudes: Standard deviation m as a share of the layer's rms, (trials,).
        draws: Base draws of this noise at this step.

    Source: Neelakantan et al. 2015, arXiv:1511.06807, made scale-free.
    """
    return {
        name: plus_relative(gradient, magnitudes, draws.normal(name, gradient.shape[1:]))
        for name, gradient in gradients.items()
    }


GRADIENT_NOISES: dict[str, Noise[ParameterNoise]] = {
    "gaussian": Noise(
        site="gradients",
        name="gaussian",
        apply=gaussian,
        unit="standard deviation as a share of the rms of the layer's gradient",
        search=(0.01, 1.0),
        log=True,
        limit=10.0,
        knobs=BOTH_KNOBS,
        modalities=ANY_DATA,
        source="Neelakantan 2015, arXiv:1511.06807, made scale-free",
        summary="adds normal noise in proportion to the size of each layer's clipped gradient",
    ),
}
