"""Test-time corruptions and the suites built of them: how a shift is made, and how strong it may be."""

from __future__ import annotations

from noise_search.corruptions.images import TUNED
from noise_search.corruptions.images_blur import BLURS
from noise_search.corruptions.images_digital import DIGITAL
from noise_search.corruptions.images_noise import NOISES
from noise_search.corruptions.images_occlusion import OCCLUSIONS
from noise_search.corruptions.images_shape import SHAPES
from noise_search.corruptions.images_tone import TONES
from noise_search.corruptions.registry import Apply, Corruption

CORRUPTIONS: dict[str, Corruption] = {
    kind.name: kind for kind in (*TUNED, *NOISES, *BLURS, *TONES, *SHAPES, *OCCLUSIONS, *DIGITAL)
}

__all__ = ["CORRUPTIONS", "Apply", "Corruption"]
