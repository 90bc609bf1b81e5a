"""A recurrent network for sequences, and for images read row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval
from torch import Tensor, nn

from noise_search.models.parts import InputStatistics, Width


@dataclass(frozen=True, slots=True)
class GruParameters:
    """Width of the hidden state, and layers, of a GRU."""

    width: Width = 64
    layers: Annotated[int, Interval(ge=1, le=4)] = 1


class Gru(nn.Module):
    """GRU over (samples, time, features), classified by its last state.

    Scoring cannot be fused: torch has no batching rule for it without gradients.

    Source: Cho et al. 2014, arXiv:1406.1078, as torch has it.
    """

    def __init__(self, features: int, classes: int, parameters: GruParameters) -> None:
        super().__init__()
        self.gru = nn.GRU(features, parameters.width, parameters.layers, batch_first=True)
        self.head = nn.Linear(parameters.width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (samples, classes) of sequences, or of images (samples, channels, height, width) by rows."""
        states, _ = self.gru(as_sequences(inputs))
        logits: Tensor = self.head(states[:, -1])
        return logits


def as_sequences(inputs: Tensor) -> Tensor:
    """Images to sequences: (samples, channels, height, width) to (samples, height, channels * width).

    Sequences (samples, time, features) stay as they are.
    """
    return inputs if inputs.dim() == 3 else inputs.movedim(2, 1).flatten(2)


def gru(statistics: InputStatistics, parameters: GruParameters) -> nn.Module:
    """GRU over the rows of an image, from top to bottom, or over the time of a sequence."""
    *channels, _, width = statistics.shape
    return Gru(width * (channels[0] if channels else 1), statistics.classes, parameters)
