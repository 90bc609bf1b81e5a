"""Apply a policy card in a training loop of one's own; needs torch, NumPy and PyYAML only.

`binding` is for plain PyTorch, `lightning` (not imported here) for Lightning.
"""

from __future__ import annotations

from noise_search.apply.batches import Normalize
from noise_search.apply.binding import BoundNoise, bind

__all__ = ["BoundNoise", "Normalize", "bind"]
